"""ASGI servers, each on a port of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest
import uvicorn

from tests.support.ports import free_port
from tests.support.waiting import HANG

App = Callable[..., Any]
Running = Callable[[App], AbstractAsyncContextManager[int]]


def bound() -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    return listening


async def started(port: int) -> None:
    """Wait until a server accepts connections."""
    with anyio.fail_after(HANG):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def on_uvicorn(app: App) -> AsyncGenerator[int]:
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with bound() as listening:
        serving = asyncio.create_task(server.serve([listening]))
        await started(listening.getsockname()[1])
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def on_hypercorn(app: App) -> AsyncGenerator[int]:
    config_module = pytest.importorskip("hypercorn.config", reason="the web session installs it")
    serve = pytest.importorskip("hypercorn.asyncio", reason="the web session installs it").serve
    stop = asyncio.Event()
    listening = bound()
    port = listening.getsockname()[1]
    config = config_module.Config()
    config.bind = [f"fd://{listening.detach()}"]  # which hypercorn closes
    config.graceful_timeout = 0.5
    config.errorlog = None
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    await started(port)
    yield port
    stop.set()
    await serving


@contextlib.asynccontextmanager
async def on_granian(app: App) -> AsyncGenerator[int]:
    embedded = pytest.importorskip("granian.server.embed", reason="the web session installs it")
    port = free_port()
    server = embedded.Server(
        app, address="127.0.0.1", port=port, interface="asgi", log_enabled=False
    )
    serving = asyncio.create_task(server.serve())
    await started(port)
    yield port
    server.stop()
    await serving


SERVERS: dict[str, Running] = {
    "uvicorn": on_uvicorn,
    "hypercorn": on_hypercorn,
    "granian": on_granian,
}
