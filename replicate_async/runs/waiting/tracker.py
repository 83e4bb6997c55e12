"""The tracker of the runs that are waited for: their polls, their answers, their time limits.

A wait is a `Subscription` with a future, and a run that is waited for is one `TrackedRun`, however
many wait for it. One timer wakes the tracker when a poll or a time limit is due; a few tasks send
the polls, for one run or one page of the listing at a time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from msgspec import Raw

from replicate_async.core.durations import Durations
from replicate_async.core.limits import Limits
from replicate_async.core.listing_plan import ListingPlan, PageRequest
from replicate_async.core.poll_backoff import PollBackoff, PollFailure
from replicate_async.core.poll_schedule import DueHeap, PollSchedule
from replicate_async.errors import NotFoundError
from replicate_async.runs.waiting import poll_errors
from replicate_async.runs.waiting.listed_run import (
    ListedRun,
    decode,
    decode_listed,
    unix_time,
)
from replicate_async.runs.waiting.poller_pool import PollerPool
from replicate_async.runs.waiting.run_api import (
    AnyRun,
    RunApi,
    check_run,
    combined,
    differ,
)
from replicate_async.runs.waiting.time_limit import GRACE, time_left, time_limit, timeout_error
from replicate_async.runs.waiting.tracked_run import Subscription, TrackedRun
from replicate_async.schemas.redaction import redact_run

_MANY: Final = 100
_TICK: Final = 0.02
"""Seconds between two looks at the schedule of that many runs or more."""

_BLOCKED: Final = 0.1
"""Seconds by which a late timer shows that the event loop was blocked; an answer may have come."""

_ENDS_KEPT: Final = 4096


class RunTracker:
    """Polls the runs of one account that are waited for, and wakes their subscribers.

    It works in the running event loop, and drops the waits of a loop before it. *jitter* is uniform
    in [0, 1).
    """

    def __init__(
        self, *, jitter: Callable[[], float] = random.random, pages_per_second: float = 25.0
    ) -> None:
        self.durations: Durations = Durations()
        self._jitter = jitter
        self._pages_per_second = pages_per_second
        self._reported_ends: OrderedDict[str, None] = OrderedDict()
        """The runs whose end a webhook reported before a wait for them began."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runs: dict[str, TrackedRun] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def _use(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now = loop.time
        self._runs = {}
        self._plans: dict[str, ListingPlan[TrackedRun]] = {}
        self._polls = PollSchedule[TrackedRun](self.durations, self._jitter)
        self._limits = DueHeap[Subscription]()
        self._backoff = PollBackoff()
        self._pollers = PollerPool(self._run_poll)
        self._call_at = loop.call_at
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._ticked_at = -math.inf

    # Subscribers

    def subscribe(self, subscription: Subscription) -> asyncio.Future[None]:
        """Begin a wait; return the future that `Subscription.wake` completes."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._use(loop)
        now = loop.time()
        if subscription.began is None:
            subscription.began = now
        subscription.woken = loop.create_future()
        run = self._runs.get(subscription.key)
        if run is None:
            run = self._track(subscription, now)
        else:
            run.subscribers.append(subscription)
            self._set_pace(run)
        subscription.run = run
        self._set_limit(subscription, run)
        self._set_timer()
        if subscription.wants_updates:
            self._wake_watchers(run)
        return subscription.woken

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a wait; a run without subscribers is polled no more."""
        run = subscription.run
        if run is None or subscription not in run.subscribers:
            return
        run.subscribers.remove(subscription)
        if not self._tracks(run):
            return  # a wait of another loop
        self._limits.discard(subscription)
        if run.subscribers:
            self._set_pace(run)
        else:
            self._untrack(run)

    def _tracks(self, run: TrackedRun) -> bool:
        return self._runs.get(run.key) is run

    def _track(self, subscription: Subscription, now: float) -> TrackedRun:
        """Begin to poll a run, at the pace that it had if *subscription* waited for it before."""
        run, last, key = subscription.run, subscription.known, subscription.key
        is_new = run is None
        if run is None:
            run = TrackedRun(key, now, subscription.api, subscription.run_id, last)
        self._runs[key] = run
        run.subscribers = [subscription]
        run.clear_failures()
        run.poll, run.wants_updates = subscription.poll, subscription.wants_updates
        if run.last is not None:
            self._set_times(run, run.last, now)
        if self._reported_ends.pop(key, ()) is None:
            self._polls.push(run, now)
        elif is_new and last is not None:
            self._polls.push_next(run, now)
        else:
            self._polls.push(run, max(run.due, now))
        return run

    def _untrack(self, run: TrackedRun) -> None:
        del self._runs[run.key]
        self._polls.discard(run)
        if (plan := self._plans.get(run.api.kind)) is not None:
            plan.discard(run)
        if run.polled_by is not None:
            run.polled_by.cancel()
            run.polled_by = None
        if run.poll_sent_at is not None:
            run.due, run.poll_sent_at = run.poll_sent_at, None
        if not self._runs:
            self._pollers.stop()
            self._cancel_timer()
        elif self._backoff.paused:
            self._set_timer()

    def _set_pace(self, run: TrackedRun) -> None:
        """Poll *run* as often as the most demanding of its subscribers wants."""
        poll = combined([one.poll for one in run.subscribers])
        wants_updates = any(one.wants_updates for one in run.subscribers)
        if (poll, wants_updates) != (run.poll, run.wants_updates):
            run.poll, run.wants_updates = poll, wants_updates
            if run.poll_sent_at is None:
                now = self._now()
                self._push(run, min(run.due, now + self._polls.pause(run, now)))

    def _finish(self, subscription: Subscription) -> None:
        self.unsubscribe(subscription)
        subscription.wake()

    def _fail(self, run: TrackedRun, error: Callable[[], BaseException]) -> None:
        for one in tuple(run.subscribers):
            one.error = error()
            self._finish(one)

    # The timer

    def _set_timer(self) -> None:
        polls_at = self._backoff.next_at(self._polls.next_due())
        if len(self._runs) > _MANY:
            polls_at = max(polls_at, self._ticked_at + _TICK)
        at = min(polls_at, self._limits.next_due())
        if at < self._timer_at:
            self._cancel_timer()
            self._timer, self._timer_at = self._call_at(at, self._on_timer), at

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf

    def _push(self, run: TrackedRun, due: float) -> None:
        self._polls.push(run, due)
        self._set_timer()

    def _on_timer(self) -> None:
        """Send the polls that are due, and end the waits whose time is over."""
        # Event loops call a little early; the time that was set counts as over.
        now = self._ticked_at = max(self._now(), self._timer_at)
        self._timer, self._timer_at = None, math.inf
        if due := self._polls.pop_due(now, self._backoff.allowed(now)):
            self._send_due(due, now)
        for subscription in self._limits.pop_due(now):
            self._check_limit(subscription, now)
        self._set_timer()

    def _send_due(self, due: list[TrackedRun], now: float) -> None:
        """Poll the runs that are *due*, one by one or by pages of the listing."""
        if self._backoff.paused:
            self._backoff.probe = due[0]
            self._submit(due[0])
            return
        for kind in {run.api.kind for run in due}:
            runs = [run for run in due if run.api.kind == kind]
            plan = self._plan_of(runs[0].api)
            singles, requests, later = plan.plan(runs, now)
            for run in singles:
                run.poll_sent_at = now
            self._pollers.submit_all(singles)
            for request in requests:
                for run in request.runs:
                    self._polls.discard(run)
                self._pollers.submit(request)
            for run in later:
                self._polls.push(run, max(plan.next_page_at, now + _TICK))

    def _submit(self, run: TrackedRun, *, first: bool = False) -> None:
        if run.push_id:
            self._polls.discard(run)
        run.poll_sent_at = self._now()
        self._pollers.submit(run, first=first)

    def _plan_of(self, api: RunApi[Any]) -> ListingPlan[TrackedRun]:
        plan = self._plans.get(api.kind)
        if plan is None:
            plan = self._plans[api.kind] = ListingPlan(
                windowed=api.windowed, pages_per_second=self._pages_per_second
            )
        return plan

    # Polls

    def _run_poll(
        self, job: TrackedRun | PageRequest[TrackedRun], poller: asyncio.Task[None]
    ) -> Awaitable[None]:
        # Runs are queued as they are: an object for each poll would cost a pass of the collector.
        return self._poll(job, poller) if isinstance(job, TrackedRun) else self._poll_page(job)

    async def _poll(self, run: TrackedRun, poller: asyncio.Task[None]) -> None:
        """Poll one run by itself."""
        if run.poll_sent_at is None or run.polled_by is not None or not self._tracks(run):
            self._set_timer()
            return  # a page or a webhook was quicker
        if self._backoff.paused and self._backoff.probe is not run:
            self._push(run, self._now())
            return
        run.polled_by, run.poll_sent_at = poller, self._now()
        try:
            state = await run.api.get(run.run_id)
            # Compared here, too: a call less for each poll.
            state = state if state.id == run.run_id else check_run(state, run.run_id)
        except Exception as error:  # noqa: BLE001 - ends the waits for this run, not the poller
            if run.polled_by is poller:
                run.polled_by = None
                self._poll_failed(run, error)
        except BaseException:
            if run.polled_by is poller:
                run.polled_by = None
                now = self._now()
                self._push(run, now + self._polls.pause(run, now))
            raise
        else:
            if self._backoff.failures:
                self._resume()
            if run.polled_by is poller:
                run.polled_by = None
                self.apply(run, state)

    async def _poll_page(self, request: PageRequest[TrackedRun]) -> None:
        """Poll the runs of *request* by one page, and again those that it does not answer."""
        listed, alone = set[str](), set(request.runs)
        try:
            if self._backoff.paused:
                alone = set[TrackedRun]()
            elif page := await self._fetch_page(request):
                listed, alone = page
        finally:
            now = self._now()
            for run in request.runs:
                if run.key in listed or run.poll_sent_at is None or not self._tracks(run):
                    continue
                if run.ripe_at > now:
                    self._polls.push(run, run.due)
                elif run in alone:
                    self._submit(run)
                else:
                    self._polls.push(run, now)
            self._set_timer()

    async def _fetch_page(
        self, request: PageRequest[TrackedRun]
    ) -> tuple[set[str], set[TrackedRun]] | None:
        """Fetch a page and apply it, unless it fails.

        Return the keys of its runs, and the runs of *request* to be polled by themselves.
        """
        api = request.runs[0].api
        plan = self._plan_of(api)
        try:
            page = await api.page(_moment(request.after), _moment(request.before))
        except Exception:  # noqa: BLE001 - the polls of single runs tell what is wrong
            plan.page_failed(self._now())
            return None
        if self._backoff.failures:
            self._resume()
        now, oldest, keys = self._now(), math.inf, set[str]()
        for raw in page.results:
            listed = decode_listed(raw)
            if listed is None:
                continue
            created = unix_time(listed.created_at)
            oldest = oldest if created is None else min(oldest, created)
            keys.add(key := f"{api.kind}/{listed.id}")
            run = self._runs.get(key)
            if run is not None and run.polled_by is None:
                plan.add(run, created)
                self._apply_listed(run, listed, raw, now)
        has_more = page.next_url and oldest < math.inf
        return keys, plan.page_read(request, keys, oldest if has_more else None, now=now)

    # Answers

    def is_tracked(self, kind: str, run_id: str) -> bool:
        """Return whether the run of that *kind* is waited for."""
        return f"{kind}/{run_id}" in self._runs

    def notify(self, kind: str, state: AnyRun) -> None:
        """Apply the *state* that a webhook reports."""
        key = f"{kind}/{state.id}"
        run = self._runs.get(key)
        if run is not None:
            self.apply(run, state)
        elif state.done:
            self._reported_ends[key] = None
            if len(self._reported_ends) > _ENDS_KEPT:
                self._reported_ends.popitem(last=False)

    def apply(self, run: TrackedRun, state: AnyRun) -> None:
        """Apply a polled or reported *state* of *run*, and wake its subscribers."""
        now = self._now()
        if run.failing_since is not None:
            run.clear_failures()
        if run.started is None and (state.started_at is not None or run.version is None):
            self._set_times(run, state, now)
        if state.done:
            self.record_duration(state)
            for one in tuple(run.subscribers):
                one.known = state
                self._finish(one)
            return
        run.seen, run.last = True, state
        self._show_status(run, state.status, now)
        if run.wants_updates:
            self._wake_watchers(run)
        if run.expired:
            self._check_limits(run, now)
        if run.due < self._timer_at:
            self._set_timer()

    def _apply_listed(self, run: TrackedRun, listed: ListedRun, raw: Raw, now: float) -> None:
        """Apply what a page shows of *run*; an end that it shows in part is polled at once."""
        if listed.done or run.wants_updates:
            state = decode(raw, run.api.returns) if listed.is_complete else None
            if state is None:
                self._submit(run, first=True)
            else:
                self.apply(run, redact_run(state, run.api.redact))
            return
        if run.failing_since is not None:
            run.clear_failures()
        self._polls.set_times(run, None, unix_time(listed.started_at), now)
        run.seen = True
        self._show_status(run, listed.status, now)

    def _show_status(self, run: TrackedRun, status: str, now: float) -> None:
        if status != run.status:
            run.status, run.changed_at = status, now
        if run.polled_by is None:
            self._polls.answered(run, now)
        if run.working_since is None and status != "starting":
            run.working_since = now
            for one in run.subscribers:
                self._set_limit(one, run)

    def _wake_watchers(self, run: TrackedRun) -> None:
        """Wake the subscribers that want the last change and do not know it."""
        for one in tuple(run.subscribers):
            if one.wants_updates and run.last is not None and differ(one.known, run.last):
                one.known = run.last
                self._finish(one)

    def _set_times(self, run: TrackedRun, state: AnyRun, now: float) -> None:
        run.version = run.version or (state.model, state.version)
        created, started = unix_time(state.created_at), unix_time(state.started_at)
        self._polls.set_times(run, created, started, now)
        self._plan_of(run.api).add(run)

    def record_duration(self, state: AnyRun) -> None:
        """Record how long the run took that has ended in *state*, if it succeeded."""
        ended = unix_time(state.completed_at)
        if ended is not None and state.status == "succeeded":
            self.durations.record(
                state.model,
                state.version,
                created=unix_time(state.created_at),
                started=unix_time(state.started_at),
                ended=ended,
            )

    # Failures

    def _poll_failed(self, run: TrackedRun, error: Exception) -> None:
        """Poll *run* again after a failure, or end the waits for it."""
        meaning = poll_errors.meaning_of(error)
        if meaning == "fatal":
            self._fail(run, partial(poll_errors.copied, error))
            return
        now, is_probe = self._now(), self._backoff.probe is run
        # A 404 is about one run, and does not pause the polls of others.
        is_gone = isinstance(error, NotFoundError)
        affected = [run, *self._late(now)] if is_probe and not is_gone else [run]
        run.failures += 1
        for one in affected:
            one.note_failure(poll_errors.shown(error), is_refusal=meaning == "refused", now=now)
        failure = PollFailure(poll_errors.retry_after(error), time_left(run, now), self._jitter())
        if is_probe or not is_gone:
            self._backoff.failed(run, failure, now)
        run.ripe_at = now + (0.0 if self._backoff.paused else failure.pause(run.failures))
        self._polls.push(run, run.ripe_at)
        for one in affected:
            if one.refused_since is not None and now - one.refused_since >= poll_errors.REFUSED_FOR:
                self._fail(one, partial(poll_errors.refusal, error, one))
        if run.expired:
            self._check_limits(run, now)
        self._set_timer()

    def _late(self, now: float) -> list[TrackedRun]:
        """Return the runs whose polls are due, and were not sent during an outage."""
        return [run for run in self._runs.values() if run.poll_sent_at is None and run.due <= now]

    def _resume(self) -> None:
        """Poll all runs again after a failure of some polls or of all."""
        if self._backoff.paused:
            for plan in self._plans.values():
                plan.reset()
        self._backoff.succeeded()
        self._set_timer()

    # Time limits

    def _set_limit(self, subscription: Subscription, run: TrackedRun) -> None:
        self._limits.push(subscription, time_limit(subscription, run).at)

    def _check_limits(self, run: TrackedRun, now: float) -> None:
        run.expired = False
        for one in tuple(run.subscribers):
            self._check_limit(one, now)

    def _check_limit(self, subscription: Subscription, now: float) -> None:
        """End a wait whose time is over, unless a poll was just sent that may bring the end."""
        run = subscription.run
        if run is None or subscription not in run.subscribers:
            return
        at, bound = time_limit(subscription, run)
        if at <= now and run.poll_sent_at is not None:
            at = run.poll_sent_at + GRACE
            if now > subscription.due + _BLOCKED and not run.expired:
                at = max(at, now + _BLOCKED)
            run.expired = True
        if at > now:
            self._limits.push(subscription, at)
        else:
            subscription.error = timeout_error(subscription, run, bound)
            self._finish(subscription)


def pages_per_second(limits: Limits) -> float:
    """Return how many pages waits may fetch: half of what *limits* allow such calls."""
    return math.inf if limits.others is None or not limits.enabled else limits.others / 60 / 2


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC)
