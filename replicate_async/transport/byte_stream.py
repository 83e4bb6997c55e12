"""An answer whose body is read in pieces."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from replicate_async.transport.aiohttp_private import stop_read_timer, unread
from replicate_async.transport.failures import NETWORK_ERRORS, translated, unexpected


class ByteStream:
    """An answer whose body is read in pieces, with at most *limit* seconds before each.

    One timer checks from time to time how long a read has been waiting. That of aiohttp would be
    set again for each segment, which takes longer than to read a short one.
    """

    __slots__ = (
        "__weakref__",
        "_close",
        "_content",
        "_loop",
        "_redact",
        "_silent",
        "_timer",
        "_waiting_since",
        "encodings",
        "headers",
        "limit",
        "status",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        limit: float,
        redact: Callable[[str], str],
    ) -> None:
        def close() -> None:
            response.close()

        # No attribute holds the response, which refers to the request with the token.
        self._close: Callable[[], None] = close
        self._redact = redact
        self._content = response.content
        self.limit: float = limit
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._silent = False
        self.status: int = response.status
        headers = _redacted(response.headers, redact)
        self.headers: Mapping[str, str] = headers
        self.encodings: list[str] = headers.getall("Content-Encoding", [])
        stop_read_timer(response)
        self._timer = self._look_after(limit)

    async def read(self) -> bytes:
        """Return the bytes that have come, at least one; none at the end."""
        self._waiting_since = self._loop.time()
        try:
            return await self._content.readany()
        except NETWORK_ERRORS as error:
            if rest := unread(self._content):
                return rest
            fault: BaseException = translated(TimeoutError() if self._silent else error)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            fault = unexpected(error)
        finally:
            self._waiting_since = None
        try:
            raise fault
        finally:
            del fault  # it holds this frame

    async def read_all(self, limit: int) -> bytes:
        """Return the rest, at most *limit* bytes of it, without the token."""
        body = bytearray()
        while len(body) < limit and (chunk := await self.read()):
            body += chunk
        text = body[:limit].decode("utf-8", "surrogateescape")
        return self._redact(text).encode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Close the connection at once."""
        self._timer.cancel()
        self._close()

    def _look_after(self, seconds: float) -> asyncio.TimerHandle:
        # Weak, so that the timer does not keep a dropped stream alive.
        me: weakref.ref[ByteStream] = weakref.ref(self)
        return self._loop.call_later(seconds, _look, me)

    def look(self) -> None:
        """Close the connection if a read has waited too long, else check again later."""
        left = self.limit
        if self._waiting_since is not None:
            left += self._waiting_since - self._loop.time()
        if left > 0:
            self._timer = self._look_after(left)
        else:
            self._silent = True
            self._close()


def _redacted(
    headers: CIMultiDictProxy[str], redact: Callable[[str], str]
) -> CIMultiDict[str] | CIMultiDictProxy[str]:
    """Return *headers* without the token, which a server may echo."""
    together = "\n".join(headers.values())
    if redact(together) == together:
        return headers
    return CIMultiDict((name, redact(value)) for name, value in headers.items())


def _look(stream: weakref.ref[ByteStream]) -> None:
    if (found := stream()) is not None:
        found.look()
