"""Calling the functions of a batch, ``prepare`` and ``finish``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar

from replicate_async.runs.run import CANCEL_WITHIN

R = TypeVar("R")


async def wait_for(future: asyncio.Future[Any], on_cancel: Callable[[], object]) -> None:
    """Wait until *future* is done; once cancelled, call *on_cancel* and wait 5 seconds more.

    It is cancelled then, if it is not done.
    """
    try:
        await asyncio.wait({future})
    except asyncio.CancelledError:
        on_cancel()
        try:
            await asyncio.wait({future}, timeout=CANCEL_WITHIN)
        finally:
            future.cancel()
            if future.done() and not future.cancelled():
                future.exception()  # marks it as retrieved, or asyncio would log it
        raise


async def call(function: Callable[[Any], Awaitable[R]], argument: object) -> R:
    """Return what *function* returns; once cancelled, it has 5 seconds to end."""
    called: object = function(argument)
    if not isawaitable(called):
        raise TypeError(f"it returned a {type(called).__name__}; make it an async function")
    running: asyncio.Future[R] = asyncio.ensure_future(called)
    await wait_for(running, on_cancel=running.cancel)
    if running.cancelled():  # not by this batch
        raise RuntimeError("it was cancelled")
    return running.result()
