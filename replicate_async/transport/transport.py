"""One HTTP exchange over aiohttp: a request, and its answer or one of our errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any, Final, TypeVar, cast

import aiohttp
import msgspec
from yarl import URL

from replicate_async.core.endpoint import shorten
from replicate_async.core.multipart import Multipart
from replicate_async.core.origin import Base
from replicate_async.core.timeout import Timeout
from replicate_async.core.token import Token
from replicate_async.errors import (
    APIConnectionError,
    ClientStateError,
    DecodeError,
    InvalidArgumentError,
)
from replicate_async.transport.byte_stream import ByteStream
from replicate_async.transport.connections import (
    SESSION_CLOSED,
    Connections,
    open_beside,
    open_session,
    timeouts,
)
from replicate_async.transport.failures import NETWORK_ERRORS, translated, unexpected
from replicate_async.transport.multipart import in_pieces, opened
from replicate_async.transport.session import LoopSession

T = TypeVar("T")

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Decompressed bytes of an answer; a larger one is refused while it is read."""

_AUTHORIZATION: Final = "Authorization"
_DEFAULTS: Final = Connections()


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Header names in any case."""
    body: bytes

    def __repr__(self) -> str:
        # Tracebacks must not show prompts, outputs, or a token that the server echoes.
        return f"<Response {self.status}, {len(self.body)} bytes>"


class Transport:
    """Sends requests over one aiohttp session, which is made at the first of them.

    *connections* say how connections are made. A *session* of the caller's is used for the API,
    with its headers and cookies, and left open. With *public_of* the transport serves other hosts:
    over connections to the addresses that this base allows, or over those of a session *beside*.

    No aiohttp exception leaves it, not even as a cause or in a frame of a traceback: the request
    that they refer to has the token.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None = None,
        connections: Connections = _DEFAULTS,
        public_of: Base | None = None,
        beside: aiohttp.ClientSession | None = None,
    ) -> None:
        given = cast("object", session)
        if given is not None and not isinstance(given, aiohttp.ClientSession):
            raise InvalidArgumentError(
                f"session={shorten(given)} is a {type(given).__name__}; it must be an "
                "aiohttp.ClientSession."
            )
        self._given = session
        self._callers = session or beside
        self._counts_pool = self._callers is None
        self._connections = connections
        self._settings = _request_settings(connections, self._callers)

        def make() -> aiohttp.ClientSession:
            return open_session(connections, public_of) if beside is None else open_beside(beside)

        self._session = LoopSession(make, given=session, beside=beside)
        self._public: Transport | None = None
        self.sent: int = 0
        """Requests that `send` has begun."""

    def send(
        self,
        method: str,
        url: str,
        *,
        fields: Mapping[str, str],
        token: Token,
        body: bytes | Multipart | None,
        timeout: Timeout,
        hold: float = 0.0,
    ) -> Coroutine[Any, Any, Response]:
        """Send a request with these header *fields* and *token*, and read the answer.

        The server may be silent for *hold* seconds beyond the read timeout. Raises
        `APIConnectionError` without an answer, and `DecodeError` for one above `LARGEST_BODY`.
        """
        if isinstance(body, Multipart):
            return self._send_form(method, url, fields, token, body, timeout, hold)
        data = None if body is None else in_pieces(body)
        return self._isolated(self._send(method, url, fields, token, data, timeout, hold))

    async def _send_form(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        token: Token,
        body: Multipart,
        timeout: Timeout,
        hold: float,
    ) -> Response:
        async with opened(body) as (form, streamed):
            try:
                exchange = self._send(method, url, fields, token, form, timeout, hold)
                return await self._isolated(exchange)
            except APIConnectionError:
                # The caller's own iterator may have failed; its error says more.
                for content in streamed:
                    content.raise_failure()
                raise

    async def _send(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        token: Token,
        data: object,
        timeout: Timeout,
        hold: float,
    ) -> Response:
        session = self._session.ready() or await self._session.open()
        silence = timeout.read + hold
        self.sent += 1
        # Not `async with`, which takes 6 % of a request to release what its end has released.
        response = await session.request(
            method,
            URL(url, encoded=True),
            data=data,
            timeout=timeouts(timeout.connect, silence, counts_pool=self._counts_pool),
            allow_redirects=False,
            **self._headers(fields, token),
            **self._settings,
        )
        try:
            body = await _read(response, silence)
        except BaseException:
            response.close()
            raise
        finally:
            if data is not None:
                await response.wait_for_close()  # a form may still be read, to be sent
        return Response(response.status, response.headers, body)

    async def open(
        self,
        url: str,
        *,
        fields: Mapping[str, str],
        token: Token,
        attached: bool,
        timeout: Timeout,
        silence: float,
        decompress: bool,
    ) -> ByteStream:
        """Send a GET and return the answer, to be read as it comes.

        *attached* says whether *token* goes along; it is redacted in what the server says, which
        may be silent for *silence* seconds at a time. *decompress* has aiohttp undo the
        Content-Encoding.
        """
        settings: dict[str, Any] = {**self._settings, "auto_decompress": decompress}

        async def exchange() -> ByteStream:
            session = self._session.ready() or await self._session.open()
            response = await session.get(
                URL(url, encoded=True),
                timeout=timeouts(timeout.connect, silence, counts_pool=self._counts_pool),
                allow_redirects=False,
                **self._headers(fields, token if attached else None),
                **settings,
            )
            return ByteStream(response, silence, token.redact)

        return await self._isolated(exchange(), token.redact(url))

    def _headers(self, fields: Mapping[str, str], token: Token | None) -> dict[str, Any]:
        """Return the options of a request with these header *fields*, and with *token* if any.

        No variable holds the header with the token: a traceback may be printed with those.
        """
        if self._callers is None and not self._connections.trust_env:
            if token is None:
                return {"headers": fields}
            return {"headers": {**fields, **token.fields}}
        # `auth` and middlewares of the session, and .netrc, would put in a header of their own.
        return {"headers": fields, "middlewares": (_authorizing(token),)}

    async def _isolated(self, exchange: Awaitable[T], url: str = "") -> T:
        """Await *exchange*; raise its errors translated, or without the frames of aiohttp."""
        fault: BaseException
        try:
            return await exchange
        except NETWORK_ERRORS as error:
            fault = translated(error, url)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            fault = self._unexpected(error)
        # Outside of `except`, so that the original is not the context of the error.
        try:
            raise fault
        finally:
            del fault  # it refers to this frame

    def _unexpected(self, error: BaseException) -> BaseException:
        """Return the error to raise for *error*, which is no network error."""
        closed = self._callers is not None and self._callers.closed
        if isinstance(error, RuntimeError) and closed:
            return ClientStateError(SESSION_CLOSED)
        return unexpected(error)

    def public_transport(self, base: Base) -> Transport:
        """Return the transport for hosts that are not the API's, which is at *base*.

        A session of the caller's may have headers and cookies that these hosts must not see. The
        addresses of their names are checked before a connection is made, unless a proxy or the
        caller's own connector makes it.
        """
        if self._public is None:
            self._public = Transport(
                connections=self._connections, public_of=base, beside=self._given
            )
        return self._public

    async def aclose(self) -> None:
        """Close the connections; the transport cannot be used after that."""
        try:
            if self._public is not None:
                await self._public.aclose()
        finally:
            await self._session.aclose()

    @property
    def state(self) -> str:
        """Return "idle" (no session yet), "open" or "closed"."""
        return self._session.state

    def __repr__(self) -> str:
        return f"<Transport {self.state}>"


def _authorizing(token: Token | None) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that sends *token*, or no authorization, in place of the session's.

    It replaces the middlewares of the session: one that repeats requests would repeat creates. It
    costs a quarter of a request, so that the client's own session has none.
    """

    def authorize(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> Awaitable[aiohttp.ClientResponse]:
        request.headers.popall(_AUTHORIZATION, None)
        if token is not None:
            request.headers.update(token.fields)
        return send(request)

    return authorize


def _request_settings(
    connections: Connections, callers: aiohttp.ClientSession | None
) -> dict[str, Any]:
    """Return the options of each request that override those of a session of the caller's."""
    if callers is None:
        return {}
    settings: dict[str, Any] = {"raise_for_status": False, "auto_decompress": True}
    if connections.proxy is not None:
        settings["proxy"] = connections.proxy
    if connections.tls is not True:
        settings["ssl"] = connections.tls
    return settings


async def _read(response: aiohttp.ClientResponse, silence: float) -> bytes:
    """Return the body, of at most `LARGEST_BODY` bytes, after *silence* at most between its pieces.

    The timer of aiohttp starts again with bytes of the framing too, which may come without end.
    """
    content = response.content
    first = content.read_nowait()
    if content.at_eof():
        return first
    body = bytearray(first)
    async with asyncio.timeout(silence) as limit:
        while not content.at_eof():
            body += await content.readany()
            limit.reschedule(asyncio.get_running_loop().time() + silence)
            # Not at the end, so that a small answer that inflates without end stops here.
            if len(body) > LARGEST_BODY:
                raise DecodeError(
                    f"The answer is larger than {LARGEST_BODY:,} bytes; the rest was not read.",
                    status=response.status,
                    content_type=response.headers.get("Content-Type"),
                )
    return bytes(body)
