"""The network: the only module of the client that knows aiohttp.

Its errors are ours from here on. No aiohttp exception escapes, not even as a cause: some of them
print the request's headers, and with them the token.
"""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from yarl import URL

from replicate_async.core.multipart import Multipart, Reading
from replicate_async.core.origin import Base
from replicate_async.core.timeout import Timeout
from replicate_async.errors import (
    APIConnectionError,
    APITimeoutError,
    ClientStateError,
    DecodeError,
    ForeignURLError,
    ReplicateError,
    TLSError,
    TruncatedBodyError,
)
from replicate_async.turnstile import Turnstile

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Decompressed bytes of an answer; more is refused while it is read."""

# Shorter than servers keep idle connections, so that a create seldom meets one being closed.
_IDLE: Final = 10.0
_LARGEST_PIECE: Final = 1024 * 1024
"""Bytes that are sent at once; aiohttp warns of more."""
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


class ByteStream:
    """An answer that is read as it comes, and that may be silent for *limit* seconds at a time.

    aiohttp would set its own timer anew for every segment, which takes longer than to read a small
    one. Here one timer looks from time to time how long a read has been waiting.
    """

    __slots__ = (
        "__weakref__",
        "_limit",
        "_loop",
        "_response",
        "_silent",
        "_timer",
        "_waiting_since",
        "headers",
        "status",
    )

    def __init__(self, response: aiohttp.ClientResponse, limit: float) -> None:
        self._response = response
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._silent = False
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        if response.connection is not None and response.connection.protocol is not None:
            response.connection.protocol.read_timeout = None
            response.connection.protocol.start_timeout()
        self._timer = self._look_after(limit)

    async def read(self) -> bytes:
        """Return what has come, at least one byte; empty at the end."""
        self._waiting_since = self._loop.time()
        try:
            return await self._response.content.readany()
        except _NETWORK_ERRORS as error:
            if rest := self._rest():
                return rest
            fault = _translated(TimeoutError() if self._silent else error)
        finally:
            self._waiting_since = None
        raise fault

    def _rest(self) -> bytes:
        """Return what had come before the connection broke."""
        # aiohttp raises at once, and has no public way to what was not read yet.
        content: Any = self._response.content
        return b"".join(content._buffer and [content._read_nowait(-1)])  # noqa: SLF001

    async def read_all(self, limit: int) -> bytes:
        """Return at most the first *limit* bytes of what is left."""
        body = bytearray()
        while len(body) < limit and (chunk := await self.read()):
            body += chunk
        return bytes(body[:limit])

    def close(self) -> None:
        """Close the connection at once."""
        self._timer.cancel()
        self._response.close()

    def _look_after(self, seconds: float) -> asyncio.TimerHandle:
        # Weak, so that a stream that nobody holds any more does not live on.
        me: weakref.ref[ByteStream] = weakref.ref(self)
        return self._loop.call_later(seconds, _look, me)

    def look(self) -> None:
        """Close the connection if a read has waited for too long, else look again later."""
        left = self._limit
        if self._waiting_since is not None:
            left += self._waiting_since - self._loop.time()
        if left > 0:
            self._timer = self._look_after(left)
        else:
            self._silent = True
            self._response.close()


def _look(stream: weakref.ref[ByteStream]) -> None:
    if (found := stream()) is not None:
        found.look()


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
        limits = _limits(timeout.connect, timeout.read + hold)
        if isinstance(body, Multipart):
            async with _form(body) as (form, streamed):
                try:
                    return await _exchange(session, method, url, headers, form, limits)
                except APIConnectionError:
                    # What broke may be the caller's own iterator, whose error says more.
                    for content in streamed:
                        content.raise_failure()
                    raise
        data = None if body is None else _in_pieces(body)
        return await _exchange(session, method, url, headers, data, limits)

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
        limits = _limits(timeout.connect, silence)
        response = await _begin(session, "GET", url, headers, None, limits)
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
        session = _session(self._connects, self._strangers_of)
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


class _Connector(aiohttp.TCPConnector):
    """A connector that makes a bounded number of connections at a time."""

    def __init__(self, connects: int, resolver: AbstractResolver | None) -> None:
        super().__init__(limit=0, keepalive_timeout=_IDLE, resolver=resolver)  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves a socket address bare
        self._turn = asyncio.Semaphore(connects)

    async def _create_connection(
        self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout
    ) -> Any:
        # The clock starts when it is a connection's turn: waiting for it is not the server's doing.
        async with self._turn:
            try:
                async with asyncio.timeout(timeout.sock_connect):
                    return await super()._create_connection(req, traces, timeout)
            except TimeoutError:
                raise aiohttp.ConnectionTimeoutError(
                    f"no connection within {timeout.sock_connect} s"
                ) from None


class _InwardError(OSError):
    """A name that leads to an address where strangers must not send us."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} leads to {address}")
        self.host = host
        self.address = address


class _Resolver(AbstractResolver):
    """Looks names up, and refuses those that lead where *base* does not allow.

    What is checked here is what is connected to: a name may mean something else the next moment.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for entry in found:
            if not self._base.may_connect(host, entry["host"]):
                raise _InwardError(host, entry["host"])
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _session(connects: int, strangers_of: Base | None) -> aiohttp.ClientSession:
    resolver = None if strangers_of is None else _Resolver(strangers_of)
    session = aiohttp.ClientSession(
        connector=_Connector(connects, resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        raise_for_status=False,
    )
    # aiohttp sends a read a second time when the connection breaks, whatever the retry policy and
    # its budget say: an outage would get twice the traffic. It has no public switch for that.
    session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return session


@lru_cache(maxsize=64)
def _limits(connect: float, read: float) -> aiohttp.ClientTimeout:
    # aiohttp's own "connect" would count the wait for a turn to connect, too.
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)


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
    except _NETWORK_ERRORS as error:
        fault = _inward(error, url) or _translated(error)
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
    except _NETWORK_ERRORS as error:
        fault = _translated(error)
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


@asynccontextmanager
async def _form(
    body: Multipart,
) -> AsyncGenerator[tuple[aiohttp.MultipartWriter, list[_Streamed]]]:
    """Open what *body* is made of, at its start, for as long as it is sent."""
    form = aiohttp.MultipartWriter("form-data")
    streamed: list[_Streamed] = []
    async with AsyncExitStack() as readings:
        for part in body.parts:
            payload: aiohttp.Payload
            if isinstance(part.content, bytes):
                payload = aiohttp.BytesPayload(part.content, content_type=part.content_type)
            else:
                reading = await readings.enter_async_context(part.content.open())
                payload = _Streamed(reading, part.content_type)
                streamed.append(payload)
            named = {} if part.filename is None else {"filename": part.filename}
            payload.set_content_disposition(
                "form-data", quote_fields=False, name=part.name, **named
            )
            form.append_payload(payload)
        yield form, streamed


class _Streamed(aiohttp.Payload):
    """Content that is sent as it is read; keeps its failure, which aiohttp replaces by its own."""

    def __init__(self, reading: Reading, content_type: str | None) -> None:
        super().__init__(reading, content_type=content_type)
        self._reading = reading
        self._failure: Exception | None = None

    @property
    def size(self) -> int | None:
        return self._reading.size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del encoding, errors
        raise TypeError("content that is sent as it is read is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        while piece := await self._read():
            for at in range(0, len(piece), _LARGEST_PIECE):
                await writer.write(memoryview(piece)[at : at + _LARGEST_PIECE])
                # A socket that takes all at once would let nobody else have a turn.
                await asyncio.sleep(0)

    async def _read(self) -> bytes | memoryview:
        try:
            return await self._reading.read()
        except Exception as error:
            self._failure = error
            raise

    def raise_failure(self) -> None:
        """Raise what reading it raised, if it did."""
        if self._failure is not None:
            raise self._failure


def _in_pieces(data: bytes) -> bytes | BytesIO:
    """Return *data* so that sending it holds nobody else up: large data is sent piece by piece."""
    return data if len(data) <= _LARGEST_PIECE else BytesIO(data)


# Everything that aiohttp and the sockets under it raise; a ValueError comes from a header or a
# chunk that its parsers cannot make sense of.
_NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


def _translated(error: BaseException) -> APIConnectionError:
    """Return our error for one of the network's; nothing of the original is kept but its kind."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return APITimeoutError(
            "No connection in time; check the network, or raise Timeout(connect=...).",
            phase="not_sent",
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return _unconnected(error)
    if isinstance(error, TimeoutError):
        return APITimeoutError(
            "The server did not answer in time; raise Timeout(read=...) if it may take longer."
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return TruncatedBodyError(
            "The answer broke off before its end, or cannot be decompressed; try again."
        )
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return TruncatedBodyError(
            "The answer is not well-formed HTTP; is base_url an HTTP server, and the right port?"
        )
    return APIConnectionError("The connection broke before the answer came; try again.")


def _inward(error: BaseException, url: str) -> ReplicateError | None:
    """Return what *error* is if it says that the host of *url* is none to connect to."""
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorDNSError) else None
    if not isinstance(reason, _InwardError):
        return None
    return ForeignURLError(
        f"{reason.host} leads to {reason.address}, which is not a public address; nothing was "
        "sent there.",
        url=url,
    )


def _unconnected(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError,
) -> APIConnectionError:
    where = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        message = f"The certificate of {where} is not valid for that name; check base_url."
        return TLSError(message, phase="not_sent")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        message = f"The TLS handshake with {where} failed; check base_url."
        return TLSError(message, phase="not_sent")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = f"The name {error.host} could not be looked up"
    else:
        what = f"No connection to {where} ({error.strerror or type(error).__name__})"
    return APIConnectionError(f"{what}; check base_url and the network.", phase="not_sent")
