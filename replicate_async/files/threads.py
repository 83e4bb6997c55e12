"""Work that may block, run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from replicate_async.core.tasks import wait_uncancelled

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *function* in a thread and return its result.

    A cancellation is raised after the function has returned: a thread cannot be interrupted.
    """
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, partial(function, *args, **kwargs))
    await wait_uncancelled(future)
    return future.result()


@asynccontextmanager
async def opened_in_thread(begin: Callable[[], T], end: Callable[[T], object]) -> AsyncGenerator[T]:
    """Hold the result of *begin* until *end* is called with it, both in threads.

    *end* is called also when the task is cancelled while *begin* runs.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, begin)
    try:
        await wait_uncancelled(opening)
        yield opening.result()
    finally:
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            await run_in_thread(end, opening.result())
