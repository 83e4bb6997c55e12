"""Temporary folders are removed by the server, and never left to the garbage collector."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from replicate_async.local.clock import Clock
from replicate_async.local.models.files import InputFolder
from replicate_async.local.store.blobs import IN_MEMORY
from replicate_async.local.store.files import FileStore

Enter = Callable[[], Awaitable[Path]]
Leave = Callable[[], Awaitable[object]]


def folder_of_a_run() -> tuple[Enter, Leave]:
    folder = InputFolder()
    return lambda: folder.write("a.png", b"x"), lambda: folder.__aexit__(None, None, None)


def folder_of_a_server() -> tuple[Enter, Leave]:
    store = FileStore(Clock(), expiry=1, capacity=1)

    async def enter() -> Path:
        async with store.receive() as incoming:
            await incoming.write(bytes(IN_MEMORY + 1))
            path = (await incoming.finish()).path
        assert path is not None
        return path

    return enter, store.close


async def cancel_removal(enter: Enter, leave: Leave) -> Path:
    """Cancel a removal that waits for a thread, and return the path of a file in the folder."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    path = await enter()
    busy = threading.Event()
    blocked = loop.run_in_executor(None, busy.wait)
    removal = asyncio.ensure_future(leave())
    await asyncio.sleep(0)  # the removal is now queued behind the busy thread
    removal.cancel()
    await asyncio.sleep(0)
    busy.set()
    await blocked
    with suppress(asyncio.CancelledError):
        await removal
    return path


@pytest.mark.parametrize("made", [folder_of_a_run, folder_of_a_server])
def test_a_cancelled_removal_still_removes_the_folder(
    made: Callable[[], tuple[Enter, Leave]],
) -> None:
    path = asyncio.run(cancel_removal(*made()))

    assert not path.exists()
