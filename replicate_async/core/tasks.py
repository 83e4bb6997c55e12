"""Waits that a cancellation of the waiting task does not end early.

asyncio and anyio are imported here, as the one exception in `core/`: the functions wait for
futures and do no I/O. anyio takes 10 ms to import and is used only if the program has imported it:
until then there is no cancel scope.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

__all__ = ["run_within", "wait_uncancelled"]

T = TypeVar("T")


def _shield() -> AbstractContextManager[object]:
    """Return a context that cancellations by anyio scopes do not enter."""
    if "anyio" not in sys.modules:
        return nullcontext()
    from anyio import CancelScope  # noqa: PLC0415 - see above

    return CancelScope(shield=True)


async def wait_uncancelled(
    future: asyncio.Future[T],
    *,
    seconds: float | None = None,
    on_cancel: Callable[[], object] | None = None,
) -> bool:
    """Wait until *future* is done, for at most *seconds*, and return whether it is.

    A cancellation of the calling task is raised at the end of the wait, and not before;
    *on_cancel* is called when it arrives. The result or the error of *future* stays in it.
    """
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else loop.time() + seconds
    cancelled: asyncio.CancelledError | None = None
    # An anyio scope cancels at each turn of the loop until it is left; asyncio cancels once.
    with _shield():
        while not future.done():
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                break
            try:
                await asyncio.wait({future}, timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
                if on_cancel is not None:
                    on_cancel()
    if cancelled is None:
        return future.done()
    if future.done() and not future.cancelled():
        future.exception()  # marks an error as retrieved, or asyncio would log it
    try:
        raise cancelled
    finally:
        del cancelled  # the error refers to this frame


async def run_within(seconds: float, work: Awaitable[T]) -> T:
    """Return the result of *work*, which a cancellation of the calling task does not interrupt.

    After *seconds* the work is cancelled and `TimeoutError` raised. A cancellation that arrives
    meanwhile is raised at the end, in place of the result or the error.
    """
    task = asyncio.ensure_future(work)
    try:
        if await wait_uncancelled(task, seconds=seconds):
            return task.result()
    finally:
        task.cancel()
    raise TimeoutError
