"""Options of connections, and the aiohttp sessions that make them."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from functools import lru_cache
from ssl import CERT_REQUIRED, SSLContext
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from yarl import URL

from replicate_async.core.endpoint import shorten
from replicate_async.core.origin import Base
from replicate_async.errors import ClientStateError, InvalidArgumentError
from replicate_async.transport.aiohttp_private import disable_retries, pooled, share_proxy
from replicate_async.transport.failures import InwardError

# Shorter than servers keep idle connections, so that few creates meet one that is being closed.
_IDLE: Final = 10.0


SESSION_CLOSED: Final = (
    "The session that was passed as session= is closed; keep it open for as long as the client is "
    "used."
)

TLS = SSLContext | bool | aiohttp.Fingerprint


@dataclass(frozen=True, slots=True)
class Connections:
    """Options of connections: how many are made at a time, proxy and TLS."""

    connects: int = 200
    proxy: str | None = field(default=None, repr=False)  # there may be a password in it
    tls: TLS = True
    """The ``ssl`` option of aiohttp; True verifies certificates as the system does."""
    trust_env: bool = False

    @property
    def are_verified(self) -> bool:
        """Whether a host must have a certificate for its name."""
        if isinstance(self.tls, SSLContext):
            return self.tls.verify_mode is CERT_REQUIRED and self.tls.check_hostname
        return self.tls is True


def read_tls(given: TLS) -> TLS:
    """Return *given*, the ``ssl`` option of aiohttp."""
    if isinstance(given, bool | SSLContext | aiohttp.Fingerprint):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        return given
    raise InvalidArgumentError(
        f"ssl={shorten(given)} is a {type(given).__name__}; pass ssl.create_default_context("
        "cafile=...), or False for no verification."
    )


class _Connector(aiohttp.TCPConnector):
    """A connector that makes a bounded number of connections at a time."""

    def __init__(self, connections: Connections, resolver: AbstractResolver | None) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves a socket address bare
            limit=0, keepalive_timeout=_IDLE, resolver=resolver, ssl=connections.tls
        )
        self._turn = asyncio.Semaphore(connections.connects)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        if req.proxy is None and (connection := await pooled(self, req, traces)) is not None:
            return connection
        # The timeout for connecting starts inside, when this request has its turn.
        async with self._turn:
            return await super().connect(req, traces, timeout)


class _Resolver(AbstractResolver):
    """Looks names up, and refuses addresses that *base* does not allow.

    The connection is made to the address that was checked: a second look-up may return another.
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


def open_session(connections: Connections, public_of: Base | None) -> aiohttp.ClientSession:
    """Return a session that makes connections as *connections* say.

    With *public_of*, to the addresses that this base allows only, unless a proxy connects.
    """
    resolver = None
    if public_of is not None and connections.proxy is None:
        resolver = _Resolver(public_of, connections)
    session = aiohttp.ClientSession(
        connector=_Connector(connections, resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=connections.proxy,
        trust_env=connections.trust_env,
    )
    disable_retries(session)
    return session


def open_beside(given: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return a session with the connector and proxy of *given*, but no headers and cookies.

    Closing it leaves the connector open.
    """
    if given.closed:
        raise ClientStateError(SESSION_CLOSED)
    session = aiohttp.ClientSession(
        connector=given.connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=given.trust_env,
    )
    share_proxy(given, session)
    disable_retries(session)
    return session


def _environment_proxies() -> set[tuple[str | None, int | None]]:
    """Return hosts and ports of the proxies in the environment."""
    found: set[tuple[str | None, int | None]] = set()
    for value in getproxies().values():
        try:
            proxy = URL(value)
        except ValueError:
            continue
        found.add((proxy.raw_host, proxy.port))
    return found


@lru_cache(maxsize=64)
def timeouts(connect: float, read: float, *, counts_pool: bool) -> aiohttp.ClientTimeout:
    """Return the limits of a request: seconds to connect, and of silence afterwards.

    *connect* covers name lookup, TCP and TLS if the wait for a place in the connector's pool may
    count as well (*counts_pool*), else TCP and TLS alone.
    """
    if counts_pool:
        return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)
