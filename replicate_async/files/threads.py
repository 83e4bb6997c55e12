"""Work that may block, run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
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
async def entered_in_thread(manager: AbstractContextManager[T]) -> AsyncGenerator[T]:
    """Enter and leave *manager* in threads.

    It is left also when the task is cancelled while it is entered.
    """
    entering = asyncio.get_running_loop().run_in_executor(None, manager.__enter__)
    try:
        await wait_uncancelled(entering)
        yield entering.result()
    finally:
        if entering.done() and not entering.cancelled() and entering.exception() is None:
            await run_in_thread(manager.__exit__, None, None, None)
