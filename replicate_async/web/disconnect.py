"""Serving a stream to a browser that may disconnect at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine

import anyio

from replicate_async.errors import ClientStateError, ReplicateError
from replicate_async.web.encode import logger
from replicate_async.web.read_ahead import EventStream


async def enter(stream: EventStream) -> None:
    """Enter *stream* unless it is entered; log the error if that fails."""
    try:
        _ = stream.prediction
    except ClientStateError:
        try:
            await stream.__aenter__()
        except ReplicateError as error:
            logger.warning("no stream was opened: %s: %s", type(error).__name__, error)
            raise


async def run_until_disconnect(
    disconnect: Coroutine[object, object, object], work: Awaitable[object]
) -> None:
    """Await *work* in the calling task, and cancel it when *disconnect* ends first.

    An error of *disconnect* counts as its end.
    """
    with anyio.CancelScope() as scope:
        watch = asyncio.ensure_future(disconnect)

        def stop(_: object) -> None:
            if not watch.cancelled():
                watch.exception()  # marks it as retrieved, or asyncio would log it
            scope.cancel()

        watch.add_done_callback(stop)
        try:
            await work
        finally:
            watch.remove_done_callback(stop)
            watch.cancel()
