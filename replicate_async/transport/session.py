"""Sessions of aiohttp that make connections as we want them made."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookies import SimpleCookie
from ssl import CERT_REQUIRED, SSLContext
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from replicate_async.core.endpoint import shorten
from replicate_async.core.origin import Base
from replicate_async.errors import ClientStateError, InvalidArgumentError
from replicate_async.transport.failures import InwardError
from replicate_async.transport.silence import Silence

# Shorter than servers keep idle connections, so that a create seldom meets one being closed.
_IDLE: Final = 10.0


TLS = SSLContext | bool | aiohttp.Fingerprint


@dataclass(frozen=True, slots=True)
class Connections:
    """How connections are made: how many at a time, and by which way out."""

    connects: int = 200
    proxy: str | None = field(default=None, repr=False)  # there may be a password in it
    tls: TLS = True
    """What aiohttp calls ``ssl``; True verifies certificates as the system does."""
    trust_env: bool = False

    @property
    def are_verified(self) -> bool:
        """Whether a host must prove its name with a certificate that is valid for it."""
        if isinstance(self.tls, SSLContext):
            return self.tls.verify_mode is CERT_REQUIRED and self.tls.check_hostname
        return self.tls is True


def read_tls(given: TLS) -> TLS:
    """Return what was *given* as ``ssl``, which must be what aiohttp takes."""
    if isinstance(given, bool | SSLContext | aiohttp.Fingerprint):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        return given
    raise InvalidArgumentError(
        f"ssl={shorten(given)} is a {type(given).__name__}; pass ssl.create_default_context("
        "cafile=...), or False for no verification."
    )


class _Connector(aiohttp.TCPConnector):
    """A connector that makes a bounded number of connections at a time."""

    def __init__(
        self, connections: Connections, resolver: AbstractResolver | None, silence: Silence
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves a socket address bare
            limit=0, keepalive_timeout=_IDLE, resolver=resolver, ssl=connections.tls
        )
        self._turn = asyncio.Semaphore(connections.connects)
        self._silence = silence

    async def _create_connection(
        self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout
    ) -> Any:
        self._silence.connecting()
        # The clock starts when it is a connection's turn: waiting for it is not the server's doing.
        async with self._turn:
            try:
                async with asyncio.timeout(timeout.sock_connect):
                    connection = await super()._create_connection(req, traces, timeout)
            except TimeoutError:
                raise aiohttp.ConnectionTimeoutError(
                    f"no connection within {timeout.sock_connect} s"
                ) from None
        self._silence.connected()
        return connection


class _Resolver(AbstractResolver):
    """Looks names up, and refuses those that lead where *base* does not allow.

    What is checked here is what is connected to: a name may mean something else the next moment.
    With *trust_env*, the proxies of the environment may be anywhere.
    """

    def __init__(self, base: Base, connections: Connections) -> None:
        self._base = base
        self._verified = connections.are_verified
        self._trust_env = connections.trust_env
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for entry in found:
            if not self._base.may_connect(host, entry["host"], verified=self._verified):
                if self._trust_env and (host, port) in _environment_proxies():
                    break
                raise InwardError(host, entry["host"])
        return found

    async def close(self) -> None:
        await self._resolver.close()


class _NoCookies(aiohttp.DummyCookieJar):
    """A jar that is always empty, and does not make a new empty jar for each request."""

    _none: Final[SimpleCookie] = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:
        """Return no cookies."""
        del request_url
        return self._none


def open_session(
    connections: Connections, strangers_of: Base | None, silence: Silence
) -> aiohttp.ClientSession:
    """Return a session that makes connections as *connections* say.

    With *strangers_of*, to the addresses that this base allows only, unless a proxy connects.
    *silence* is told of them.
    """
    resolver = None
    if strangers_of is not None and connections.proxy is None:
        resolver = _Resolver(strangers_of, connections)
    return _without_repeats(
        aiohttp.ClientSession(
            connector=_Connector(connections, resolver, silence),
            cookie_jar=_NoCookies(),
            proxy=connections.proxy,
            trust_env=connections.trust_env,
        )
    )


def open_beside(given: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return a session by the way out of *given*, without its headers and cookies.

    It shares the connector, so that proxies of every kind serve it, and leaves it open.
    """
    if given.closed:
        raise ClientStateError(SESSION_CLOSED)
    session = aiohttp.ClientSession(
        connector=given.connector,
        connector_owner=False,
        cookie_jar=_NoCookies(),
        trust_env=given.trust_env,
    )
    # aiohttp has no public names for these.
    for name in ("_default_proxy", "_default_proxy_auth"):
        setattr(session, name, getattr(given, name, None))
    return _without_repeats(session)


SESSION_CLOSED: Final = (
    "The session that was passed as session= is closed; keep it open for as long as the client is "
    "used."
)


def _without_repeats(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    # aiohttp sends a read a second time when the connection breaks, whatever the retry policy and
    # its budget say: an outage would get twice the traffic.
    session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public switch
    return session


def _environment_proxies() -> set[tuple[str | None, int | None]]:
    """Return hosts and ports of the proxies that the environment names."""
    found: set[tuple[str | None, int | None]] = set()
    for value in getproxies().values():
        try:
            proxy = URL(value)
        except ValueError:
            continue
        found.add((proxy.raw_host, proxy.port))
    return found


@lru_cache(maxsize=64)
def limits(connect: float, read: float | None) -> aiohttp.ClientTimeout:
    """Return the seconds that a request may take to connect, and be silent afterwards."""
    # aiohttp's own "connect" would count the wait for a turn to connect, too.
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)
