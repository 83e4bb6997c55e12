"""Requests and their answers, over sessions of aiohttp."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from replicate_async.core.multipart import Multipart
from replicate_async.core.origin import Base
from replicate_async.core.timeout import Timeout
from replicate_async.core.token import Token
from replicate_async.errors import APIConnectionError, ClientStateError, DecodeError
from replicate_async.transport import forms
from replicate_async.transport.byte_stream import ByteStream
from replicate_async.transport.failures import NETWORK_ERRORS, inward, isolated, translated
from replicate_async.transport.headers import SecretHeaders
from replicate_async.transport.session import (
    SESSION_CLOSED,
    Connections,
    limits,
    open_beside,
    open_session,
)
from replicate_async.transport.silence import Silence
from replicate_async.transport.turnstile import Turnstile

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Decompressed bytes of an answer; more is refused while it is read."""

_SHORT: Final = 64 * 1024
"""Bytes of a body whose sending is no matter of time, even over a slow line."""
_ABANDONED: Final[list[aiohttp.ClientSession]] = []
_DEFAULTS: Final = Connections()


class Response(msgspec.Struct, frozen=True, gc=False):
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

    *connections* say how connections are made, and how many at a time, so that ten thousand tasks
    can start together. A *session* of the caller's is used for the API, with its headers and
    cookies, and left open. With *strangers_of* it serves other hosts: by the same way out, over
    connections to the addresses that this base allows only, or over those of a session *beside*.
    """

    _silence: Silence
    """Of the same loop as the session."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None = None,
        connections: Connections = _DEFAULTS,
        strangers_of: Base | None = None,
        beside: aiohttp.ClientSession | None = None,
    ) -> None:
        self._given = session
        self._beside = beside
        self._connections = connections
        self._strangers_of = strangers_of
        self._overrides = session is not None or beside is not None or connections.trust_env
        self._settings = _request_settings(connections, session or beside)
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
        headers: SecretHeaders,
        body: bytes | Multipart | aiohttp.Payload | None,
        timeout: Timeout,
        hold: float = 0.0,
    ) -> Response:
        """Send a request and read the answer, of at most `LARGEST_BODY` bytes.

        The server may keep silent for *hold* seconds beyond the read timeout.
        """
        if isinstance(body, Multipart):
            return await self._send_form(
                method, url, headers=headers, form=body, timeout=timeout, hold=hold
            )
        session = self._ready() or await self._open()
        self.sent += 1
        read = timeout.read + hold
        short = body is None or _is_short(body)
        watched = short and session is not self._given
        exchange = self._silence.begin(read if watched else math.inf)
        response: aiohttp.ClientResponse | None = None
        fault: BaseException
        try:
            # A context manager would cost a tenth of the call.
            response = exchange.response = await session.request(
                method,
                URL(url, encoded=True),
                data=forms.in_pieces(body) if isinstance(body, bytes) else body,
                timeout=limits(timeout.connect, None if watched else read),
                allow_redirects=False,
                **(headers.overriding() if self._overrides else headers.options()),
                **self._settings,
            )
            content = response.content
            if short and content.is_eof() and content.total_bytes <= LARGEST_BODY:
                # All is there already, and sent: having aiohttp wait for it takes 8 % of the call.
                whole = content.read_nowait()
            else:
                whole = await (response.read() if _is_small(response) else _read(response))
            return Response(response.status, response.headers, whole)
        except asyncio.CancelledError as error:
            fault = translated(TimeoutError()) if exchange.ended() else isolated(error)
        except NETWORK_ERRORS as error:
            fault = translated(TimeoutError() if exchange.ended() else error)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            fault = self._unexpected(error)
        finally:
            self._silence.end(exchange)
            # The end of the body has released the connection; one that is not there never will.
            if response is not None and not response.content.at_eof():
                response.close()
        # The answer knows its request, and with it the token.
        response = exchange.response = None
        # Out here, so that the original is not even the context of what is raised.
        try:
            raise fault
        finally:
            del fault  # it holds this frame

    async def _send_form(
        self,
        method: str,
        url: str,
        *,
        headers: SecretHeaders,
        form: Multipart,
        timeout: Timeout,
        hold: float,
    ) -> Response:
        async with forms.opened(form) as (body, streamed):
            try:
                return await self.send(
                    method, url, headers=headers, body=body, timeout=timeout, hold=hold
                )
            except APIConnectionError:
                # What broke may be the caller's own iterator, whose error says more.
                for content in streamed:
                    content.raise_failure()
                raise

    async def open(
        self,
        url: str,
        *,
        headers: SecretHeaders,
        timeout: Timeout,
        silence: float | None = None,
    ) -> ByteStream:
        """Send a GET and return the answer, to be read as it comes.

        It may be silent for *silence* seconds at a time, those of a stream unless set.
        """
        session = self._ready() or await self._open()
        silence = timeout.stream if silence is None else silence
        fault: BaseException
        try:
            response = await session.get(
                URL(url, encoded=True),
                timeout=limits(timeout.connect, silence),
                allow_redirects=False,
                **(headers.overriding() if self._overrides else headers.options()),
                **self._settings,
            )
            return ByteStream(response, silence, headers.covered_in)
        except NETWORK_ERRORS as error:
            fault = inward(error, headers.covered_in(url)) or translated(error)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            fault = self._unexpected(error)
        try:
            raise fault
        finally:
            del fault  # it holds this frame

    def _unexpected(self, error: BaseException) -> BaseException:
        """Return what to raise for *error*, which is none of the network's."""
        given = self._given or self._beside
        if isinstance(error, RuntimeError) and given is not None and given.closed:
            return ClientStateError(SESSION_CLOSED)
        return isolated(error)

    @staticmethod
    def headers(fields: Mapping[str, str], token: Token, *, attached: bool) -> SecretHeaders:
        """Return *fields* as headers to send, with *token* or (not *attached*) without it."""
        return SecretHeaders(fields, token, attached=attached)

    async def turn(self) -> None:
        """Wait until it is this task's turn to begin with a request."""
        await self._turnstile.enter()

    def public_transport(self, base: Base) -> Transport:
        """Return the transport for hosts that are not the API's, which is at *base*.

        A session of the caller's may carry headers and cookies of its own, which are not theirs
        to see; and where their names lead is looked at before a connection is made, unless a proxy
        or the caller's own connector makes it.
        """
        if self._strangers is None:
            self._strangers = Transport(
                connections=self._connections, strangers_of=base, beside=self._given
            )
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
        given = self._given or self._beside
        if given is not None and getattr(given, "_loop", loop) is not loop:
            raise ClientStateError(
                "The session that was passed as session= belongs to another event loop; make a "
                "session and a client for each."
            )
        self._silence = Silence(loop)
        if self._given is not None:
            self._loop, self._pid = loop, os.getpid()
            self._session = self._given
            return self._given
        self._abandon()
        if self._beside is not None:
            session = open_beside(self._beside)
        else:
            session = open_session(self._connections, self._strangers_of, self._silence)
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


def _request_settings(
    connections: Connections, given: aiohttp.ClientSession | None
) -> dict[str, Any]:
    """Return the options of each request that override those of a session that was *given*."""
    settings: dict[str, Any] = {}
    if given is not None:
        settings = {"raise_for_status": False, "auto_decompress": True}
        if connections.proxy is not None:
            settings["proxy"] = connections.proxy
        if connections.tls is not True:
            settings["ssl"] = connections.tls
    return settings


def _is_short(body: bytes | aiohttp.Payload) -> bool:
    """Whether sending *body* may count as waiting for the answer."""
    return isinstance(body, bytes) and len(body) <= _SHORT


def _is_small(response: aiohttp.ClientResponse) -> bool:
    """Whether its body is known to be within the limit."""
    length = response.content_length
    return (
        length is not None and length <= LARGEST_BODY and "Content-Encoding" not in response.headers
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, unless it turns out to be larger than the limit."""
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
