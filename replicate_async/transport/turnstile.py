"""How tasks that start together are let begin one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_PER_TURN: Final = 16


class Turnstile:
    """Lets a few tasks through in each turn of the event loop.

    To begin a request takes a fraction of a millisecond. Ten thousand tasks that start together
    would hold up everything else for seconds.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = _PER_TURN
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait until it is this task's turn."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # The first task since all were through, or the first of another loop.
            self._loop, self._left = loop, _PER_TURN
            self._waiting.clear()
            loop.call_soon(self._turn, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        self._left = _PER_TURN
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        if self._left < _PER_TURN:
            loop.call_soon(self._turn, loop)
        else:
            self._loop = None
