"""Waiting for the end of a run, or for each of its changes."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isawaitable
from typing import Generic, Self, cast

from replicate_async.core.poll import Poll
from replicate_async.errors import ClientStateError
from replicate_async.runs.waiting.run_api import (
    AnyRun,
    OnUpdate,
    RunApi,
    RunT,
    check_on_update,
)
from replicate_async.runs.waiting.tracked_run import Subscription
from replicate_async.runs.waiting.tracker import RunTracker


@dataclass(frozen=True, slots=True)
class PredictionWaits(Generic[RunT]):
    """Waits for predictions or trainings, which share the polls of *tracker*."""

    tracker: RunTracker
    api: RunApi[RunT]

    async def wait(
        self,
        run_id: str,
        *,
        last: RunT | None,
        timeout: float | None,
        queue_timeout: float | None = None,
        poll: Poll | None,
        on_update: OnUpdate[RunT] | None = None,
    ) -> RunT:
        """Return the run when it has ended; *last* is a known state, which may be the end."""
        check_on_update(on_update)
        if on_update is None:
            subscription = Subscription(
                self.api, run_id, last, timeout, queue_timeout, poll, wants_updates=False
            )
            return cast("RunT", await next_update(self.tracker, subscription))
        updates = self.watch(
            run_id, last=last, timeout=timeout, queue_timeout=queue_timeout, poll=poll
        )
        while True:
            state = await anext(updates)
            answer = on_update(state)
            if isawaitable(answer):
                await answer
            if state.done:
                return state

    def watch(
        self,
        run_id: str,
        *,
        last: RunT | None,
        timeout: float | None,
        queue_timeout: float | None = None,
        poll: Poll | None,
    ) -> RunUpdates[RunT]:
        """Return the changes of the run from *last* on."""
        subscription = Subscription(
            self.api, run_id, last, timeout, queue_timeout, poll, wants_updates=True
        )
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
            state = await next_update(self._tracker, self._subscription)
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
        self._subscription.wake()

    def __repr__(self) -> str:
        state = "over" if self._over else "open"
        return f"<RunUpdates {self._subscription.run_id} {state}>"


async def next_update(tracker: RunTracker, subscription: Subscription) -> AnyRun | None:
    """Return the state that ends the wait of *subscription*, at once if the end is known.

    None is returned when it was woken before any state was known.
    """
    known = subscription.known
    if known is not None and known.done:
        return known
    try:
        await tracker.subscribe(subscription)
    finally:
        tracker.unsubscribe(subscription)
        subscription.woken = None
    if subscription.error is not None:
        try:
            raise subscription.error
        finally:
            subscription.error = None
    return subscription.known
