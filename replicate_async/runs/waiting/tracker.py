"""The tracker of the runs that are waited for: their polls, their answers, their time limits.

A wait is a `Subscription` with a future, and a run that is waited for is one `TrackedRun`, however
many wait for it. One timer wakes the tracker when polls are due; a few tasks send them, for one run
or one page of the listing at a time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final

from msgspec import Raw

from replicate_async.core.due_heap import DueHeap
from replicate_async.core.durations import Durations
from replicate_async.core.listing_plan import ListingPlan, PageRequest
from replicate_async.core.poll_backoff import PollBackoff, PollFailure
from replicate_async.core.poll_schedule import PollSchedule
from replicate_async.core.usage import UsageCounter
from replicate_async.errors import NotFoundError
from replicate_async.runs.waiting import wait_errors
from replicate_async.runs.waiting.listed_run import ListedRun, RawPage, decode, moment, unix_time
from replicate_async.runs.waiting.loop_timer import LoopTimer
from replicate_async.runs.waiting.run_api import AnyRun, check_run, differ
from replicate_async.runs.waiting.tracked_run import GRACE, Subscription, TrackedRun
from replicate_async.runs.waiting.wait_options import combined
from replicate_async.schemas.redaction import redact_run

_MANY: Final = 100
_TICK: Final = 0.02
"""Seconds between two looks at the schedule of that many runs or more."""

_MOST_POLLERS: Final = 256
"""Polls in flight: the API answers 1,000 a second, each within about a quarter of a second."""

_ENDS_KEPT: Final = 4096


class RunTracker:
    """Polls the runs of one account that are waited for, and wakes their subscribers.

    It works in the running event loop, and drops the waits of a loop before it. *jitter* is uniform
    in [0, 1).
    """

    def __init__(
        self,
        *,
        jitter: Callable[[], float] = random.random,
        pages_per_second: float = 25.0,
        usage: UsageCounter | None = None,
    ) -> None:
        self.durations: Durations = Durations()
        self.usage: UsageCounter = usage or UsageCounter()
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
        for run in self._runs.values():  # their places are in the heaps of the loop before
            run.push_id, run.poll_sent_at, run.polled_by = 0, None, None
            for one in run.subscribers:
                one.push_id = 0
        self._runs = {}
        self._plans: dict[str, ListingPlan[TrackedRun]] = {}
        self._polls = PollSchedule[TrackedRun](self.durations, self._jitter)
        self._limits = DueHeap[Subscription]()
        self._backoff = PollBackoff()
        self._queue = deque[TrackedRun]()
        self._tasks = set[asyncio.Task[None]]()
        self._timer = LoopTimer(self._on_timer)
        self._limit_timer = LoopTimer(self._check_due_limits)
        self._next_tick = -math.inf

    # Subscribers

    async def next_update(self, subscription: Subscription) -> AnyRun | None:
        """Return the state that ends the wait of *subscription*, at once if the end is known.

        None is returned when the wait is closed.
        """
        known = subscription.known
        if known is not None and known.done:
            return known
        try:
            state = await self._subscribe(subscription)
        finally:
            self._unsubscribe(subscription)
        subscription.known = state or known
        return state

    def _subscribe(self, subscription: Subscription) -> asyncio.Future[AnyRun | None]:
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

    def _unsubscribe(self, subscription: Subscription) -> None:
        """End a wait; a run without subscribers is polled no more."""
        run, subscription.woken = subscription.run, None
        if run is None or subscription not in run.subscribers:
            return
        run.subscribers.remove(subscription)
        if self._runs.get(run.key) is not run:
            return  # a wait of another loop
        self._limits.discard(subscription)
        if run.subscribers:
            self._set_pace(run)
        else:
            self._untrack(run)

    def _track(self, subscription: Subscription, now: float) -> TrackedRun:
        """Begin to poll a run, at the pace that it had if *subscription* waited for it before."""
        run, key, api = subscription.run, subscription.key, subscription.api
        if api.kind not in self._plans:
            self._plans[api.kind] = ListingPlan(
                windowed=api.windowed, pages_per_second=self._pages_per_second
            )
        plan = self._plans[api.kind]
        is_new = run is None
        if run is None:
            run = TrackedRun(key, now, api, subscription.run_id, subscription.known, plan)
        self._runs[key] = run
        run.plan, run.subscribers = plan, [subscription]
        run.clear_failures()
        run.poll, run.wants_updates = subscription.options.poll, subscription.wants_updates
        if run.last is not None:
            self._set_times(run, run.last, now)
        if self._reported_ends.pop(key, ()) is None:
            self._polls.push(run, now)
        elif is_new and run.last is not None:
            self._polls.push_next(run, now)
        else:
            self._polls.push(run, max(run.due, now))
        return run

    def _untrack(self, run: TrackedRun) -> None:
        del self._runs[run.key]
        self._polls.discard(run)
        run.plan.discard(run)
        for one in run.subscribers:
            self._limits.discard(one)
        if run.polled_by is not None:
            run.polled_by.cancel()
            run.polled_by = None
        if run.poll_sent_at is not None:
            run.due, run.poll_sent_at = run.poll_sent_at, None
        if not self._runs:
            self._queue.clear()
            for task in self._tasks - {asyncio.current_task()}:
                task.cancel()
            self._timer.cancel()
            self._limit_timer.cancel()
        elif self._backoff.paused:
            self._set_timer()

    def _set_pace(self, run: TrackedRun) -> None:
        """Poll *run* as often as the most demanding of its subscribers wants."""
        poll = combined([one.options.poll for one in run.subscribers])
        wants_updates = any(one.wants_updates for one in run.subscribers)
        if (poll, wants_updates) != (run.poll, run.wants_updates):
            run.poll, run.wants_updates = poll, wants_updates
            if run.poll_sent_at is None:
                now = self._now()
                self._polls.push(run, min(run.due, now + self._polls.pause(run, now)))

    def _fail(self, run: TrackedRun, error: Callable[[], BaseException]) -> None:
        for one in run.subscribers:
            one.fail(error())
        self._untrack(run)

    # The timer

    def _set_timer(self) -> None:
        at = self._polls.next_due()
        if self._backoff.paused:
            at = self._backoff.next_at(at)
        if at < self._timer.at:
            self._timer.set(max(at, self._next_tick))

    def _on_timer(self, now: float) -> None:
        """Poll the runs that are due, one by one or by pages of the listing."""
        self._next_tick = now + _TICK if len(self._runs) > _MANY else now
        due = self._polls.pop_due(now, self._backoff.allowed(now))
        if due and self._backoff.paused:
            self._backoff.probe = due[0]
            self._submit(due.pop(), now)
        for listing in self._plans.values():
            plan = listing.plan([run for run in due if run.plan is listing], now)
            for run in plan.singles:
                self._submit(run, now)
            for request in plan.pages:
                for run in request.runs:
                    self._polls.discard(run)
                self._start(self._poll_page(request))
            for run in plan.later:
                self._polls.push(run, max(listing.next_page_at, now + _TICK))
        self._set_timer()

    # Polls

    def _submit(self, run: TrackedRun, now: float) -> None:
        """Poll *run* by itself, as soon as a poller has time."""
        if run.push_id:
            self._polls.discard(run)
        run.poll_sent_at = now
        self._queue.append(run)
        self._start_poller()

    def _start_poller(self) -> None:
        if len(self._tasks) < _MOST_POLLERS:
            self._start(self._poll_queue())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # An empty context: that of the caller is not about the runs of others. Not by the factory
        # of the loop: an eager task would poll at once, before the timer is set.
        task = asyncio.Task(work, loop=self._loop, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._queue:
            self._start_poller()
        if not task.cancelled():
            task.result()

    async def _poll_queue(self) -> None:
        """Poll queued runs, each by itself, until none is left."""
        poller = asyncio.current_task()
        while self._queue:
            run = self._queue.popleft()
            await self._poll(run, poller)
            if run.due >= self._timer.at:
                continue
            go_on = run.push_id and not run.wants_updates and not self._backoff.paused
            if go_on and run.due <= self._now():
                # It is due again: no timer, no other task and no turn of the loop for a quick run.
                # Not if a subscriber has an update to take first: it would cancel this poll.
                self._polls.discard(run)
                run.poll_sent_at = run.due
                self._queue.append(run)
            else:
                self._set_timer()

    async def _poll(self, run: TrackedRun, poller: asyncio.Task[Any] | None) -> None:
        if run.poll_sent_at is None or run.polled_by is not None:
            return  # a page or a webhook was quicker
        if self._backoff.paused and self._backoff.probe is not run:
            self._polls.push(run, self._now())
            return
        run.polled_by = poller
        try:
            state = check_run(await run.api.get(run.run_id), run.run_id)
        except Exception as error:  # noqa: BLE001 - ends the waits for this run, not the poller
            if run.polled_by is poller:
                run.polled_by = None
                self._poll_failed(run, error)
        except BaseException:
            if run.polled_by is poller:
                run.polled_by = None
                self._polls.push_next(run, self._now())
                self._set_timer()
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
        api, plan = request.runs[0].api, request.runs[0].plan
        try:
            page = await api.page(moment(request.after), moment(request.before))
        except Exception:  # noqa: BLE001 - the polls of single runs tell what is wrong
            plan.page_failed(self._now())
        else:
            listed, alone = self._apply_page(request, page)
        finally:
            now = self._now()
            for run in request.runs:
                if run.key in listed or run.poll_sent_at is None:
                    continue
                if run.ripe_at > now:
                    self._polls.push(run, run.due)
                elif run in alone:
                    self._submit(run, now)
                else:
                    self._polls.push(run, now)
            self._set_timer()

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
            self._set_timer()
        elif state.done:
            self._reported_ends[key] = None
            if len(self._reported_ends) > _ENDS_KEPT:
                self._reported_ends.popitem(last=False)

    def apply(self, run: TrackedRun, state: AnyRun | ListedRun) -> None:
        """Apply a polled, listed or reported *state* of *run*, and wake its subscribers."""
        now = self._now()
        if run.failing_since is not None:
            run.clear_failures()
        if run.started is None and (state.started_at is not None or run.version is None):
            self._set_times(run, state, now)
        if not isinstance(state, ListedRun):
            run.last = state
            if state.done:
                self._end(run, state)
                return
        run.seen = True
        if state.status != run.status:
            self._change_status(run, state.status, now)
        if run.polled_by is None:
            run.polls += 1
            run.passed_over = 0
            self._polls.push_next(run, now)
        if run.wants_updates:
            self._wake_watchers(run)
        if run.grace_until is not None:
            self._check_limits(run)

    def _end(self, run: TrackedRun, state: AnyRun) -> None:
        self.record_end(state)
        for one in run.subscribers:
            one.wake(state)
        self._untrack(run)

    def _change_status(self, run: TrackedRun, status: str, now: float) -> None:
        run.status, run.changed_at = status, now
        if run.working_since is None and status != "starting":
            run.working_since = now
            for one in run.subscribers:
                self._set_limit(one, run)

    def _apply_page(
        self, request: PageRequest[TrackedRun], page: RawPage
    ) -> tuple[set[str], set[TrackedRun]]:
        """Return the keys of the runs on *page*, and the runs to be polled by themselves."""
        if self._backoff.failures:
            self._resume()
        now, oldest, keys = self._now(), math.inf, set[str]()
        api, plan = request.runs[0].api, request.runs[0].plan
        for raw in page.results:
            listed = decode(raw, ListedRun)
            if listed is None:
                continue
            created = unix_time(listed.created_at)
            oldest = oldest if created is None else min(oldest, created)
            keys.add(key := f"{api.kind}/{listed.id}")
            run = self._runs.get(key)
            if run is not None and run.polled_by is None:
                plan.add(run, created)
                self._apply_listed(run, listed, raw)
        has_more = page.next_url and oldest < math.inf
        return keys, plan.page_read(request, keys, oldest if has_more else None, now=now)

    def _apply_listed(self, run: TrackedRun, listed: ListedRun, raw: Raw) -> None:
        """Apply what a page shows of *run*; an end that it shows in part is polled at once."""
        if not (listed.done or run.wants_updates):
            self.apply(run, listed)
        elif listed.is_complete and (state := decode(raw, run.api.returns)) is not None:
            self.apply(run, redact_run(state, run.api.redact))
        else:
            self._submit(run, self._now())

    def _wake_watchers(self, run: TrackedRun) -> None:
        """Wake the subscribers that want the last change and do not know it."""
        for one in run.subscribers:
            if one.wants_updates and run.last is not None and differ(one.known, run.last):
                one.wake(run.last)

    def _set_times(self, run: TrackedRun, state: AnyRun | ListedRun, now: float) -> None:
        if not isinstance(state, ListedRun):
            run.version = run.version or (state.model, state.version)
        created, started = unix_time(state.created_at), unix_time(state.started_at)
        self._polls.set_times(run, created, started, now)
        run.plan.add(run)

    def record_end(self, state: AnyRun) -> None:
        """Record what the run used that has ended in *state*, and how long it took in success."""
        self.usage.count(state.id, state)
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
        meaning = wait_errors.meaning_of(error)
        if meaning == "fatal":
            self._fail(run, partial(wait_errors.copied, error))
            return
        now, is_probe = self._now(), self._backoff.probe is run
        # A 404 is about one run, and does not pause the polls of others.
        is_gone = isinstance(error, NotFoundError)
        affected = [run]
        if is_probe and not is_gone:  # with the polls that are due and held back
            waiting = self._runs.values()
            affected += [one for one in waiting if one.poll_sent_at is None and one.due <= now]
        run.failures += 1
        for one in affected:
            one.note_failure(wait_errors.shown(error), is_refusal=meaning == "refused", now=now)
        failure = PollFailure(wait_errors.retry_after(error), run.time_left(now), self._jitter())
        if is_probe or not is_gone:
            self._backoff.failed(run, failure, now)
        run.ripe_at = now + (0.0 if self._backoff.paused else failure.pause(run.failures))
        self._polls.push(run, run.ripe_at)
        for one in affected:
            if one.refused_since is not None and now - one.refused_since >= wait_errors.REFUSED_FOR:
                self._fail(one, partial(wait_errors.refusal, error, one))
        if run.grace_until is not None:
            self._check_limits(run)
        self._set_timer()

    def _resume(self) -> None:
        """Poll all runs again after a failure of some polls or of all."""
        if self._backoff.paused:
            for plan in self._plans.values():
                plan.reset()
        self._backoff.succeeded()
        self._set_timer()

    # Time limits

    def _set_limit(self, one: Subscription, run: TrackedRun, at: float | None = None) -> None:
        at = run.limit_of(one)[0] if at is None else at
        if at < (one.due if one.push_id else math.inf):  # a later one is set when this is checked
            self._limits.push(one, at)
            self._limit_timer.set(at)

    def _check_due_limits(self, now: float) -> None:
        for one in self._limits.pop_due(now):
            self._check_limit(one, now)
        self._limit_timer.set(self._limits.next_due())

    def _check_limits(self, run: TrackedRun) -> None:
        run.grace_until = None
        for one in run.subscribers:
            self._check_limit(one, self._now())

    def _check_limit(self, one: Subscription, now: float) -> None:
        """End a wait whose time is over, unless a poll under way may show the end of the run."""
        run, now = one.run, max(self._now(), now)
        if run is None:
            return
        at, bound = run.limit_of(one)
        if at <= now and run.polled_at <= now and at < run.polled_at + GRACE:
            if run.grace_until is None:
                run.grace_until = now + GRACE
            at = run.grace_until
        if at > now:
            self._set_limit(one, run, at)
        else:
            one.fail(wait_errors.timeout_error(one, run, bound))
