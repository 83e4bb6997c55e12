"""A stream for a browser that may go away at any time: what the responses have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine

import anyio

from replicate_async.errors import ClientStateError, ReplicateError
from replicate_async.web.encode import logger
from replicate_async.web.read_ahead import EventStream


async def enter(stream: EventStream) -> None:
    """Enter *stream* unless that was done; log the error if it fails."""
    try:
        _ = stream.prediction
    except ClientStateError:
        try:
            await stream.__aenter__()
        except ReplicateError as error:
            logger.warning("no stream was opened: %s: %s", type(error).__name__, error)
            raise


async def run_until_disconnect(
    gone: Coroutine[object, object, object], work: Awaitable[object]
) -> None:
    """Await *work*, but stop it when *gone* ends first.

    *work* runs in the caller's own task. Its errors pass; one of *gone* means that it has ended.
    """
    with anyio.CancelScope() as scope:
        watch = asyncio.ensure_future(gone)

        def stop(_: object) -> None:
            if not watch.cancelled():
                watch.exception()  # it was seen: asyncio need not report it
            scope.cancel()

        watch.add_done_callback(stop)
        try:
            await work
        finally:
            watch.remove_done_callback(stop)
            watch.cancel()
