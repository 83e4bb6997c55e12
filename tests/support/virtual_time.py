"""An event loop whose clock jumps to whatever comes next, so that an hour takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Lets time pass instead of waiting for it."""

    def __init__(self, elapse: Callable[[float], None]) -> None:
        super().__init__()
        self._elapse = elapse

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and for nothing that will come"
            self._elapse(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        super().__init__(_Selector(self._elapse))

    def _elapse(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def time(self) -> float:
        return self.now


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end on a clock of its own; nothing may be left of it."""
    complaints: list[str] = []

    def complain(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        complaints.append(str(context["message"]))

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(complain)
        result = await main
        await asyncio.sleep(0.001)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(watched())
    assert not complaints, complaints
    return result
