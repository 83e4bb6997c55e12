"""Requests and their answers, over sessions of aiohttp."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from io import BytesIO
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from replicate_async.core.multipart import Multipart
from replicate_async.core.origin import Base
from replicate_async.core.timeout import Timeout
from replicate_async.errors import APIConnectionError, ClientStateError, DecodeError
from replicate_async.transport import forms
from replicate_async.transport.byte_stream import ByteStream
from replicate_async.transport.failures import NETWORK_ERRORS, inward, translated
from replicate_async.transport.session import limits, open_session
from replicate_async.transport.turnstile import Turnstile

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Decompressed bytes of an answer; more is refused while it is read."""

_ABANDONED: Final[list[aiohttp.ClientSession]] = []


class Response(NamedTuple):
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Header names in any case."""
    body: bytes

    def __repr__(self) -> str:
        # Prompts and outputs, and a token that the server echoes, do not belong into tracebacks.
        return f"<Response {self.status}, {len(self.body)} bytes>"


class Transport:
    """Sessions of aiohttp: one for an event loop, made at its first request.

    *connects* is how many connections may be in the making at a time, so that ten thousand tasks
    can start together. A *session* of the caller's is used as it is, and left open. With
    *strangers_of*, connections are made to the addresses that this base allows only.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None = None,
        connects: int = 200,
        strangers_of: Base | None = None,
    ) -> None:
        self._given = session
        self._connects = connects
        self._strangers_of = strangers_of
        self._session: aiohttp.ClientSession | None = session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._turnstile = Turnstile()
        self._closer: AsyncGenerator[None] | None = None
        self._strangers: Transport | None = None
        self.closed: bool = False
        self.sent: int = 0
        """Requests that were begun."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Multipart | None,
        timeout: Timeout,
        hold: float = 0.0,
    ) -> Response:
        """Send a request and read the answer, of at most `LARGEST_BODY` bytes.

        The server may keep silent for *hold* seconds beyond the read timeout.
        """
        session = self._ready() or await self._open()
        self.sent += 1
        within = limits(timeout.connect, timeout.read + hold)
        if isinstance(body, Multipart):
            async with forms.opened(body) as (form, streamed):
                try:
                    return await _exchange(session, method, url, headers, form, within)
                except APIConnectionError:
                    # What broke may be the caller's own iterator, whose error says more.
                    for content in streamed:
                        content.raise_failure()
                    raise
        data = None if body is None else forms.in_pieces(body)
        return await _exchange(session, method, url, headers, data, within)

    async def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: Timeout,
        silence: float | None = None,
    ) -> ByteStream:
        """Send a GET and return the answer, to be read as it comes.

        It may be silent for *silence* seconds at a time, those of a stream unless set.
        """
        session = self._ready() or await self._open()
        silence = timeout.stream if silence is None else silence
        within = limits(timeout.connect, silence)
        response = await _begin(session, "GET", url, headers, None, within)
        return ByteStream(response, silence)

    async def turn(self) -> None:
        """Wait until it is this task's turn to begin with a request."""
        await self._turnstile.enter()

    def strangers(self, base: Base) -> Transport:
        """Return the transport for hosts that are not the API's, which is at *base*.

        A session of the caller's may carry headers and cookies of its own, which are not theirs
        to see; and where their names lead is looked at before a connection is made.
        """
        if self._strangers is None:
            self._strangers = Transport(connects=self._connects, strangers_of=base)
        return self._strangers

    async def aclose(self) -> None:
        """Close the connections; the transport cannot be used after that."""
        self.closed = True
        if self._strangers is not None:
            await self._strangers.aclose()
        if self._closer is not None and asyncio.get_running_loop() is self._loop:
            await self._closer.aclose()
        elif self._given is None:
            self._abandon()
        self._session = None

    def _ready(self) -> aiohttp.ClientSession | None:
        """Return the session, unless one is to be made for this loop."""
        if self.closed:
            raise ClientStateError("The client is closed; make a new one, or close it later.")
        if (
            self._loop is asyncio.get_running_loop()
            and self._pid == os.getpid()
            and self._session is not None
        ):
            return self._session
        return None

    async def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        forked = self._pid != os.getpid()
        if self._loop is not None and self._loop is not loop and not forked:
            self._check_thread(self._loop)
        if self._given is not None:
            self._loop, self._pid = loop, os.getpid()
            self._session = self._given
            return self._given
        self._abandon()
        session = open_session(self._connects, self._strangers_of)
        self._session, self._loop, self._pid = session, loop, os.getpid()
        # A loop that ends closes its asynchronous generators, and this one the session with it:
        # nothing is left open where nobody called aclose(), and a second loop finds a clean slate.
        self._closer = _closing(session)
        await anext(self._closer)
        return session

    def _check_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop.is_running():
            raise ClientStateError(
                "The client is used from a second event loop while its first one runs; make one "
                "client for each, or come back to the first with asyncio.run_coroutine_threadsafe."
            )

    def _abandon(self) -> None:
        """Let go of a session whose loop is gone, or is another process's."""
        session, self._session, self._closer = self._session, None, None
        if session is None or session.closed or session is self._given:
            return
        if self._pid != os.getpid():
            # The sockets are the parent's: closing them here would shut down its TLS sessions.
            _ABANDONED.append(session)
        else:
            session.detach()

    @property
    def state(self) -> str:
        """Whether it is "idle" (no session yet), "open" or "closed"."""
        return "closed" if self.closed else "open" if self._session is not None else "idle"

    def __repr__(self) -> str:
        return f"<Transport {self.state}>"


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()


async def _begin(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    data: bytes | BytesIO | aiohttp.Payload | None,
    limits: aiohttp.ClientTimeout,
) -> aiohttp.ClientResponse:
    """Send a request and return when the head of the answer is there."""
    try:
        # A context manager would cost a tenth of the call; whoever reads the body sees to its end.
        return await session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=data,
            timeout=limits,
            allow_redirects=False,
        )
    except NETWORK_ERRORS as error:
        fault = inward(error, url) or translated(error)
    # Out here, so that the original is not even the context of what is raised.
    raise fault


async def _exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    data: bytes | BytesIO | aiohttp.Payload | None,
    limits: aiohttp.ClientTimeout,
) -> Response:
    """Send a request and read the whole answer."""
    response = await _begin(session, method, url, headers, data, limits)
    try:
        return Response(response.status, response.headers, await _read(response))
    except NETWORK_ERRORS as error:
        fault = translated(error)
    finally:
        # The end of the body has released the connection; one that is not there yet never will.
        if not response.content.at_eof():
            response.close()
    raise fault


async def _read(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= LARGEST_BODY and "Content-Encoding" not in response.headers:
        return await response.read()
    body = bytearray()
    # By chunks, so that a small answer that inflates without end stops at the limit.
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise DecodeError(
                f"The answer is larger than {LARGEST_BODY:,} bytes; it was not read to its end.",
                status=response.status,
                content_type=response.headers.get("Content-Type"),
            )
    return bytes(body)
