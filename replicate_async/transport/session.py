"""Sessions of aiohttp that make connections as we want them made."""

from __future__ import annotations

import asyncio
import socket
from functools import lru_cache
from http.cookies import SimpleCookie
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from replicate_async.core.origin import Base
from replicate_async.transport.failures import InwardError
from replicate_async.transport.silence import Silence

# Shorter than servers keep idle connections, so that a create seldom meets one being closed.
_IDLE: Final = 10.0


class _Connector(aiohttp.TCPConnector):
    """A connector that makes a bounded number of connections at a time."""

    def __init__(self, connects: int, resolver: AbstractResolver | None, silence: Silence) -> None:
        super().__init__(limit=0, keepalive_timeout=_IDLE, resolver=resolver)  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves a socket address bare
        self._turn = asyncio.Semaphore(connects)
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
    connects: int, strangers_of: Base | None, silence: Silence
) -> aiohttp.ClientSession:
    """Return a session that makes *connects* connections at a time.

    With *strangers_of*, to the addresses that this base allows only. *silence* is told of them.
    """
    resolver = None if strangers_of is None else _Resolver(strangers_of)
    session = aiohttp.ClientSession(
        connector=_Connector(connects, resolver, silence),
        cookie_jar=_NoCookies(),
        trust_env=False,
        raise_for_status=False,
    )
    # aiohttp sends a read a second time when the connection breaks, whatever the retry policy and
    # its budget say: an outage would get twice the traffic.
    session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public switch
    return session


@lru_cache(maxsize=64)
def limits(connect: float, read: float | None) -> aiohttp.ClientTimeout:
    """Return the seconds that a request may take to connect, and be silent afterwards."""
    # aiohttp's own "connect" would count the wait for a turn to connect, too.
    return aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read)
