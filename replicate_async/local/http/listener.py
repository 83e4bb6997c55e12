"""The listening socket and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from replicate_async.local.http.app import Api, http_logger
from replicate_async.local.http.context import Handler
from replicate_async.local.http.head_timeout import HeadTimeout
from replicate_async.local.services import Services

_GRACE: Final = 0.25
"""Seconds that a request may still take once the server closes."""


class Listener:
    """Answers HTTP requests at *host* and *port* with *handlers*; port 0 takes a free one."""

    def __init__(
        self, services: Services, handlers: Mapping[str, Handler], host: str, port: int
    ) -> None:
        self.port: int = port
        self._host = host
        self._services = services
        self._handlers = handlers
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    @property
    def running(self) -> bool:
        """Whether it listens, or is about to."""
        return self._runner is not None

    async def start(self, on_shutdown: Callable[[], Awaitable[None]]) -> None:
        """Listen; *on_shutdown* is awaited before connections are closed."""

        async def shut_down(_app: web.Application) -> None:
            await on_shutdown()

        self._runner = web.AppRunner(
            Api(self._services, self._handlers, frozenset({self._host.lower()})).app,
            access_log=None,
            logger=http_logger,
            handle_signals=False,
            # A disconnected client's request is cancelled, though not the run it made.
            handler_cancellation=True,
            shutdown_timeout=_GRACE,
            # Seconds; aiohttp keeps idle connections for an hour.
            keepalive_timeout=75,
        )
        self._runner.app.on_shutdown.append(shut_down)
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection, self._host, self.port, backlog=1024
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _connection(self) -> asyncio.Protocol:
        """Return the protocol of one connection."""
        server = None if self._runner is None else self._runner.server
        if server is None:
            raise ConnectionAbortedError("the server closes")
        return HeadTimeout(server(), self._services.settings.head_timeout)
