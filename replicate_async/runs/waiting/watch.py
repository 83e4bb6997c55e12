"""Waiting for the end of a run, or for each of its changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Self, cast

from replicate_async.errors import ClientStateError
from replicate_async.runs.waiting.run_api import RunApi, RunT
from replicate_async.runs.waiting.tracked_run import Subscription
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.runs.waiting.wait_options import WaitOptions


@dataclass(frozen=True, slots=True)
class PredictionWaits(Generic[RunT]):
    """Waits for predictions or trainings, which share the polls of *tracker*."""

    tracker: RunTracker
    api: RunApi[RunT]

    async def wait(self, run_id: str, options: WaitOptions, *, last: RunT | None = None) -> RunT:
        """Return the run when it has ended; *last* is a known state, which may be the end."""
        wants_updates = options.on_update is not None
        subscription = Subscription(self.api, run_id, last, options, wants_updates)
        while True:
            state = cast("RunT", await self.tracker.next_update(subscription))
            await options.report(state)
            if state.done:
                return state

    def watch(
        self, run_id: str, options: WaitOptions, *, last: RunT | None = None
    ) -> RunUpdates[RunT]:
        """Return the changes of the run from *last* on."""
        subscription = Subscription(self.api, run_id, last, options, wants_updates=True)
        return RunUpdates(self.tracker, subscription)


class RunUpdates(Generic[RunT]):
    """The changes of a run as polls and webhooks show them, the last one its end.

    Iterate over it with ``async for``: each item is a snapshot whose status, logs, output or error
    differs from the one before. The run is polled only while the next item is awaited, so the loop
    may be left at any time, and a slow loop gets fewer changes. Raises what ``wait`` raises.
    """

    __slots__ = ("_awaited", "_over", "_subscription", "_tracker")

    def __init__(self, tracker: RunTracker, subscription: Subscription) -> None:
        self._tracker = tracker
        self._subscription = subscription
        self._awaited = False
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunT:
        """Return the next change; nothing comes after the end, an error or `close`."""
        if self._over:
            raise StopAsyncIteration
        if self._awaited:
            raise ClientStateError("The run is watched by another task; one task can await it.")
        self._awaited = True
        try:
            state = await self._tracker.next_update(self._subscription)
        except Exception:
            self._over = True
            raise
        finally:
            self._awaited = False
        if state is None or self._over:
            raise StopAsyncIteration
        self._over = state.done
        return cast("RunT", state)

    def close(self) -> None:
        """End the iteration, also in a task that awaits the next change."""
        self._over = True
        self._subscription.wake(None)

    def __repr__(self) -> str:
        state = "over" if self._over else "open"
        return f"<RunUpdates {self._subscription.run_id} {state}>"
