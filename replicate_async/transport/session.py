"""The aiohttp session of the running event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from typing import Final

import aiohttp

from replicate_async.errors import ClientStateError
from replicate_async.transport.aiohttp_private import loop_of

_ABANDONED: Final[list[aiohttp.ClientSession]] = []

_MORE_THAN_A_READ: Final = 1 << 20
"""Bytes of a block that is larger than the 256 kB that asyncio allocates before each read."""


class LoopSession:
    """A session that is opened at the first request, and again in another event loop or process.

    *make* opens it. A session of the caller's (*given*) is used as it is and left open; one that
    *make* derives from it (*beside*) belongs to the same event loop.
    """

    def __init__(
        self,
        make: Callable[[], aiohttp.ClientSession],
        *,
        given: aiohttp.ClientSession | None = None,
        beside: aiohttp.ClientSession | None = None,
    ) -> None:
        self._make = make
        self._given = given
        self._callers = given or beside
        self._session = given
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._closer: AsyncGenerator[None] | None = None
        self._closed = False

    def ready(self) -> aiohttp.ClientSession | None:
        """Return the session, None if it is to be opened; raises `ClientStateError` once closed."""
        if self._closed:
            raise ClientStateError("The client is closed; make a new one, or close it later.")
        here = self._loop is asyncio.get_running_loop() and self._pid == os.getpid()
        return self._session if here else None

    async def open(self) -> aiohttp.ClientSession:
        """Open the session; raises `ClientStateError` in a second running event loop."""
        loop = asyncio.get_running_loop()
        self._check(loop)
        # Once a larger block was freed, glibc keeps those of reads, and does not ask the system for
        # each of them: two page faults and three system calls less for each answer and event.
        bytes(_MORE_THAN_A_READ)
        if self._given is None:
            self._abandon()
            self._session = self._make()
            # A loop that ends closes its asynchronous generators, and with this one the session:
            # a client that is never closed leaves nothing open.
            self._closer = _closing(self._session)
            await anext(self._closer)
        session = self._session
        assert session is not None  # noqa: S101 - given or made above
        self._loop, self._pid = loop, os.getpid()
        return session

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        before = self._loop if self._pid == os.getpid() else None
        if before is not None and before is not loop and before.is_running():
            raise ClientStateError(
                "The client is used from a second event loop while its first one runs; make one "
                "client for each, or come back to the first with asyncio.run_coroutine_threadsafe."
            )
        if self._callers is not None and loop_of(self._callers) not in {None, loop}:
            raise ClientStateError(
                "The session that was passed as session= belongs to another event loop; make a "
                "session and a client for each."
            )

    def _abandon(self) -> None:
        """Drop a session whose event loop is gone, or is another process's."""
        session, self._session, self._closer = self._session, None, None
        if session is None or session.closed:
            return
        if self._pid != os.getpid():
            # The sockets are the parent's: closing them here would shut down its TLS sessions.
            _ABANDONED.append(session)
        else:
            session.detach()

    async def aclose(self) -> None:
        """Close the session, unless it is the caller's; it cannot be used after that."""
        self._closed = True
        if self._closer is not None and asyncio.get_running_loop() is self._loop:
            await self._closer.aclose()
        elif self._given is None:
            self._abandon()
        self._session = None

    @property
    def state(self) -> str:
        """Return "idle" (no session yet), "open" or "closed"."""
        return "closed" if self._closed else "open" if self._session is not None else "idle"


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()
