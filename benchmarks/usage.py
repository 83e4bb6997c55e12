"""What this process holds and how late its event loop is, while something goes on in it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK = 0.005


def resident() -> int:
    """Return the bytes of memory that are resident."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def size_of(path: str) -> int:
    """Return the bytes of a file."""
    return Path(path).stat().st_size


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


async def saved(chunks: AsyncIterable[bytes], size: int, path: str) -> dict[str, float]:
    """Write a file of that size at *path* as it comes, and return what that took."""
    async with Watched() as watched:
        with Path(path).open("wb") as file:  # noqa: ASYNC230 - as most programs would
            async for chunk in chunks:
                file.write(chunk)
    assert size_of(path) == size
    return watched.figures(size)


class Watched:
    """Tells, of a block, its seconds and CPU, the worst lag, and the most memory that it held.

    Memory is what is more than before the first such block, since freed memory may stay resident.
    """

    first = 0

    def __init__(self) -> None:
        self.seconds = self.cpu = self.lag = 0.0
        self.memory = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        _forget_peak()
        Watched.first = Watched.first or resident()
        self._task = asyncio.create_task(self._tick())
        self.cpu, self.seconds = -time.process_time(), -time.perf_counter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.seconds += time.perf_counter()
        self.cpu += time.process_time()
        self.memory = _peak() - Watched.first
        assert self._task is not None
        self._task.cancel()

    async def _tick(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(_TICK)
            self.lag = max(self.lag, time.perf_counter() - begun - _TICK)

    def figures(self, size: float) -> dict[str, float]:
        """Return the figures for *size* bytes that went through."""
        return {
            "speed": size / self.seconds,
            "cpu_per_mb": self.cpu / size * 1e12,
            "memory": float(self.memory),
            "lag": self.lag * 1e3,
        }
