"""The trackers of an account: the runs that are waited for, their polls and their time limits.

A wait is a `Subscription` with a future, and a run that is waited for is one `TrackedRun`, however
many wait for it. One timer wakes the tracker of an event loop when a poll or a time limit is due;
a few tasks send the polls, for one run or one page of the listing at a time.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from msgspec import Raw

from replicate_async.alarm import Alarm
from replicate_async.core.durations import Durations
from replicate_async.core.limits import Limits
from replicate_async.core.listing_plan import ListingPlan, PageRequest, split_unlisted
from replicate_async.core.poll_backoff import PollBackoff, retry_pause
from replicate_async.core.poll_schedule import DueHeap, PollSchedule
from replicate_async.errors import NotFoundError
from replicate_async.runs.waiting import poll_errors
from replicate_async.runs.waiting.listed_run import (
    ListedRun,
    RawPage,
    decode,
    decode_listed,
    unix_time,
)
from replicate_async.runs.waiting.poller_pool import PollerPool
from replicate_async.runs.waiting.run_api import AnyRun, combined, differ
from replicate_async.runs.waiting.time_limit import GRACE, time_left, time_limit, timeout_error
from replicate_async.runs.waiting.tracked_run import Subscription, TrackedRun

_MANY: Final = 100
_TICK: Final = 0.02
"""Seconds between two looks at the schedule of that many runs or more."""

_RESUMED_A_SECOND: Final = 1000
_LONGEST_RESUME: Final = 3.0
"""Seconds over which the polls are spread that an outage has kept back."""

_BLOCKED: Final = 0.1
"""Seconds by which a late timer shows that the event loop was blocked; an answer may have come."""

_ENDS_KEPT: Final = 4096


class ClientTracker:
    """Tracks the runs of one account, in the event loop that is running.

    It keeps the durations of models, and the runs whose end a webhook reported before a wait.
    """

    def __init__(
        self,
        *,
        jitter: Callable[[], float] = random.random,
        pages_per_second: float = 25.0,
    ) -> None:
        self._jitter = jitter
        self._pages_per_second = pages_per_second
        self._reported_ends: OrderedDict[str, None] = OrderedDict()
        self._tracker: RunTracker | None = None
        self.durations: Durations = Durations()

    def __len__(self) -> int:
        return 0 if self._tracker is None else len(self._tracker)

    def current(self) -> RunTracker:
        """Return the tracker of the running event loop; that of another loop is dropped."""
        loop = asyncio.get_running_loop()
        if self._tracker is None or self._tracker.loop is not loop:
            self._tracker = RunTracker(
                loop,
                self.durations,
                self._jitter,
                reported_ends=self._reported_ends,
                pages_per_second=self._pages_per_second,
            )
        return self._tracker

    def is_tracked(self, kind: str, run_id: str) -> bool:
        """Return whether the run of that *kind* is waited for."""
        return self._tracker is not None and self._tracker.find(f"{kind}/{run_id}") is not None

    def record_duration(self, ended: AnyRun) -> None:
        """Record how long a run took that has *ended*, which no wait has seen."""
        record_duration(self.durations, ended)

    def notify(self, kind: str, state: AnyRun) -> None:
        """Apply the *state* that a webhook reports, and wake its subscribers."""
        key = f"{kind}/{state.id}"
        run = None if self._tracker is None else self._tracker.find(key)
        if self._tracker is not None and run is not None:
            self._tracker.apply(run, state)
        elif state.done:
            self._reported_ends[key] = None
            if len(self._reported_ends) > _ENDS_KEPT:
                self._reported_ends.popitem(last=False)


class RunTracker:
    """Polls the runs that are waited for in *loop*, and wakes their subscribers.

    *reported_ends* holds the runs whose end was reported before a wait for them began.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        durations: Durations,
        jitter: Callable[[], float],
        *,
        reported_ends: OrderedDict[str, None],
        pages_per_second: float,
    ) -> None:
        self.loop = loop
        self._record_duration = partial(record_duration, durations)
        self._jitter = jitter
        self._reported_ends = reported_ends
        self._pages_per_second = pages_per_second
        self._runs: dict[str, TrackedRun] = {}
        self._plans: dict[str, ListingPlan[TrackedRun]] = {}
        self._polls = PollSchedule[TrackedRun](durations, jitter)
        self._limits = DueHeap[Subscription]()
        self._backoff = PollBackoff(jitter)
        self._pollers = PollerPool()
        self._timer = Alarm(loop, self._on_timer)
        self._ticked_at = -math.inf

    def __len__(self) -> int:
        return len(self._runs)

    def find(self, key: str) -> TrackedRun | None:
        """Return the tracked run with *key*."""
        return self._runs.get(key)

    # Subscribers

    def subscribe(self, subscription: Subscription) -> asyncio.Future[None]:
        """Begin a wait; return the future that `Subscription.wake` completes."""
        now = self.loop.time()
        if subscription.began is None:
            subscription.began = now
        subscription.woken = self.loop.create_future()
        run = self._runs.get(subscription.key)
        if run is None:
            run = self._track(subscription, now)
        else:
            run.subscribers.append(subscription)
            self._set_pace(run, now)
        subscription.run = run
        self._set_limit(subscription, run)
        self._set_timer()
        if subscription.wants_updates:
            self._update(run)
        return subscription.woken

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a wait; a run without subscribers is polled no more."""
        run = subscription.run
        if run is None or subscription not in run.subscribers:
            return
        run.subscribers.remove(subscription)
        self._limits.discard(subscription)
        if run.subscribers:
            self._set_pace(run, self.loop.time())
        else:
            self._untrack(run)

    def _track(self, subscription: Subscription, now: float) -> TrackedRun:
        """Begin to poll a run, at the pace that it had if *subscription* waited for it before."""
        run, resumed = subscription.run, False
        if run is None:
            run = TrackedRun(subscription, now)
        else:
            resumed = not run.polling
            run.clear_failures()
        self._runs[run.key] = run
        run.subscribers = [subscription]
        run.poll, run.wants_updates = subscription.poll, subscription.wants_updates
        if run.last is not None:
            self._set_times(run, run.last, now)
        if self._reported_ends.pop(run.key, ()) is None:
            self._polls.push(run, now)
        elif resumed:
            self._polls.push(run, max(run.due, now))
        elif run.last is None or run.polls:
            self._polls.push(run, now)
        else:
            self._polls.push_next(run, now)
        return run

    def _untrack(self, run: TrackedRun) -> None:
        del self._runs[run.key]
        self._polls.discard(run)
        if (plan := self._plans.get(run.api.kind)) is not None:
            plan.discard(run)
        if run.polled_by is not None:
            run.polled_by.cancel()
            run.polled_by = None
        self._backoff.abandon(run.key)
        if not self._runs:
            self._pollers.stop()
            self._timer.cancel()
        elif self._backoff.paused:
            self._set_timer()

    def _set_pace(self, run: TrackedRun, now: float) -> None:
        """Poll *run* as often as the most demanding of its subscribers wants."""
        poll = combined([one.poll for one in run.subscribers])
        wants_updates = any(one.wants_updates for one in run.subscribers)
        if (poll, wants_updates) != (run.poll, run.wants_updates):
            run.poll, run.wants_updates = poll, wants_updates
            if not run.polling:
                self._polls.push(run, min(run.due, now + self._polls.pause(run, now)))
                self._set_timer()

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
        self._timer.set(min(polls_at, self._limits.next_due()))

    def _on_timer(self, now: float) -> None:
        """Send the polls that are due, and end the waits whose time is over."""
        self._ticked_at = now
        if due := self._polls.pop_due(now, self._backoff.allowed(now)):
            self._send_due(due, now)
        for subscription in self._limits.pop_due(now):
            self._check_limit(subscription, now)
        self._set_timer()

    def _send_due(self, due: list[TrackedRun], now: float) -> None:
        """Poll the runs that are *due*, one by one or by pages of the listing."""
        if self._backoff.paused:
            self._backoff.probe = due[0].key
            self._submit(due[0])
            return
        for kind in {run.api.kind for run in due}:
            runs = [run for run in due if run.api.kind == kind]
            plan = self._plans.get(kind)
            if plan is None:
                self._submit_all(runs)
                continue
            singles, pages, later = plan.plan(runs, now)
            self._submit_all(singles)
            for request in pages:
                for run in request.runs:
                    self._polls.discard(run)
                    run.poll_sent_at = now
                self._pollers.submit(partial(self._poll_page, plan, request))
            for run in later:
                self._polls.push(run, max(plan.next_page_at, now + _TICK))

    def _submit_all(self, runs: Iterable[TrackedRun]) -> None:
        for run in runs:
            self._submit(run)

    def _submit(self, run: TrackedRun, *, first: bool = False) -> None:
        self._polls.discard(run)
        run.polling, run.poll_sent_at = True, self.loop.time()
        self._pollers.submit(partial(self._poll, run), first=first)

    # Polls

    async def _poll(self, run: TrackedRun) -> None:
        """Poll one run by itself."""
        if not run.polling or run.polled_by is not None or self._runs.get(run.key) is not run:
            self._backoff.abandon(run.key)
            self._set_timer()
            return
        if self._backoff.paused and self._backoff.probe != run.key:
            self._polls.push(run, self.loop.time())
            self._set_timer()
            return
        poller = run.polled_by = asyncio.current_task()
        run.poll_sent_at = self.loop.time()
        try:
            state = await run.api.get(run.run_id)
        except Exception as error:  # noqa: BLE001 - ends the waits for this run, not the poller
            if run.polled_by is poller:
                run.polled_by = None
                self._poll_failed(run, error)
        except BaseException:
            if run.polled_by is poller:
                run.polled_by = None
                self._poll_lost(run)
            raise
        else:
            if self._backoff.failures:
                self._resume()
            if run.polled_by is poller:
                run.polled_by = None
                self.apply(run, state)

    def _poll_lost(self, run: TrackedRun) -> None:
        self._backoff.abandon(run.key)
        if self._runs.get(run.key) is run:
            self._polls.push_next(run, self.loop.time())
            self._set_timer()

    async def _poll_page(
        self, plan: ListingPlan[TrackedRun], request: PageRequest[TrackedRun]
    ) -> None:
        """Poll all runs that one page of the listing shows."""
        api = request.runs[0].api
        if self._backoff.paused:
            for run in self._unanswered(request.runs):
                self._polls.push(run, self.loop.time())
            self._set_timer()
            return
        try:
            page = await api.page(_moment(request.after), _moment(request.before))
        except Exception:  # noqa: BLE001 - the polls of single runs tell what is wrong
            plan.page_failed(self.loop.time())
            self._submit_all(self._unanswered(request.runs))
        except BaseException:
            for run in self._unanswered(request.runs):
                self._poll_lost(run)
            raise
        else:
            self._read_page(plan, request, page, api.kind)
        self._set_timer()

    def _read_page(
        self,
        plan: ListingPlan[TrackedRun],
        request: PageRequest[TrackedRun],
        page: RawPage,
        kind: str,
    ) -> None:
        now = self.loop.time()
        if self._backoff.failures:
            self._resume()
        oldest, listed_keys = math.inf, set[str]()
        for raw in page.results:
            listed = decode_listed(raw)
            if listed is None:
                continue
            created = unix_time(listed.created_at)
            oldest = oldest if created is None else min(oldest, created)
            key = f"{kind}/{listed.id}"
            listed_keys.add(key)
            run = self._runs.get(key)
            if run is not None and run.polled_by is None:
                plan.add(run, created)
                self._apply_listed(run, listed, raw, now)
        has_more = bool(page.next_url)
        hits = sum(run.key in listed_keys for run in request.runs)
        plan.page_read(hits, size=len(page.results), has_more=has_more, now=now)
        missed = self._unanswered(run for run in request.runs if run.key not in listed_keys)
        hidden, beyond = split_unlisted(missed, oldest if has_more and oldest < math.inf else None)
        for run in hidden:
            plan.not_listed(run, now)
        self._submit_all(hidden)
        if not hits:
            # Others that were created at the same moment fill the page, and would again.
            self._submit_all(beyond)
            return
        for run in beyond:
            run.passed_over += 1
            self._polls.push(run, now)

    def _unanswered(self, runs: Iterable[TrackedRun]) -> list[TrackedRun]:
        """Return those of *runs* that still need a poll; the others are due as before."""
        now = self.loop.time()
        unanswered: list[TrackedRun] = []
        for run in runs:
            if run.polling and self._runs.get(run.key) is run:
                if run.ripe_at <= now:
                    unanswered.append(run)
                else:
                    self._polls.push(run, run.due)
        return unanswered

    # Answers

    def apply(self, run: TrackedRun, state: AnyRun) -> None:
        """Apply a polled or reported *state* of *run*, and wake its subscribers."""
        if self._runs.get(run.key) is not run:
            return
        now = self.loop.time()
        if run.failures:
            run.clear_failures()
        if run.started is None and (state.started_at is not None or run.version is None):
            self._set_times(run, state, now)
        if state.done:
            self._record_duration(state)
            for one in tuple(run.subscribers):
                one.known = state
                self._finish(one)
            return
        run.seen, run.last = True, state
        self._show_status(run, state.status, now)
        if run.wants_updates:
            self._update(run)
        if run.expired:
            self._check_limits(run, now)
        if run.due < self._timer.at:
            self._set_timer()

    def _apply_listed(self, run: TrackedRun, listed: ListedRun, raw: Raw, now: float) -> None:
        """Apply what a page shows of *run*; an end that it shows in part is polled at once."""
        if listed.done or run.wants_updates:
            state = decode(raw, run.api.returns) if listed.is_complete else None
            if state is None:
                self._submit(run, first=True)
            else:
                self.apply(run, state)
            return
        if run.failures:
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

    def _update(self, run: TrackedRun) -> None:
        """Wake the subscribers that want the last change and do not know it."""
        for one in tuple(run.subscribers):
            if one.wants_updates and run.last is not None and differ(one.known, run.last):
                one.known = run.last
                self._finish(one)

    def _set_times(self, run: TrackedRun, state: AnyRun, now: float) -> None:
        if run.version is None:
            run.version = (state.model, state.version)
        created, started = unix_time(state.created_at), unix_time(state.started_at)
        self._polls.set_times(run, created, started, now)
        plan = self._plans.get(run.api.kind)
        if plan is None:
            plan = self._plans[run.api.kind] = ListingPlan(
                windowed=run.api.windowed, pages_per_second=self._pages_per_second
            )
        plan.add(run)

    # Failures

    def _poll_failed(self, run: TrackedRun, error: Exception) -> None:
        """Poll *run* again after a failure, or end the waits for it."""
        meaning = poll_errors.meaning_of(error)
        if meaning == "fatal":
            self._fail(run, partial(poll_errors.copied, error))
            return
        now, backoff, refused = self.loop.time(), self._backoff, meaning == "refused"
        retry_after = poll_errors.retry_after(error)
        run.failures += 1
        run.poll_error = poll_errors.shown(error)
        if run.failing_since is None:
            run.failing_since = run.poll_sent_at
        if not refused:
            run.refused_since = None
        elif run.refused_since is None:
            run.refused_since = now
        left = time_left(run, now)
        # A 404 is about one run, and does not pause the polls of others.
        if not isinstance(error, NotFoundError) or backoff.probe == run.key:
            backoff.failed(run.key, now, refused=refused, retry_after=retry_after, left=left)
        pause = 0.0
        if not backoff.paused:
            pause = retry_pause(
                run.failures,
                longest=poll_errors.LONGEST_PAUSE[meaning],
                retry_after=retry_after,
                left=left,
                jitter=self._jitter(),
            )
        self._polls.push(run, now + pause)
        run.ripe_at = now + pause
        self._end_refused(run, error, now)
        if run.expired:
            self._check_limits(run, now)
        self._set_timer()

    def _end_refused(self, run: TrackedRun, error: Exception, now: float) -> None:
        """End the waits whose polls were all refused for too long."""
        limit = now - poll_errors.REFUSED_FOR
        refused = list[TrackedRun]()
        if run.refused_since is not None and run.refused_since <= limit:
            refused.append(run)
        if self._backoff.refused_since is not None and self._backoff.refused_since <= limit:
            # The polls of these runs were not sent, because those of all others were refused.
            refused += [one for one in self._runs.values() if one.due <= now and one is not run]
        for one in refused:
            if one is run or one.tracked_since <= limit:
                last, kind = one.last_seen(), one.api.kind
                make = partial(poll_errors.refusal, error, kind, one.run_id, last, seen=one.seen)
                self._fail(one, make)

    def _resume(self) -> None:
        """Poll all runs again after an outage, spread over a few seconds."""
        was_paused = self._backoff.paused
        self._backoff.succeeded()
        if was_paused:
            for plan in self._plans.values():
                plan.reset()
            now = self.loop.time()
            late = [run for run in self._runs.values() if run.push_id and run.due <= now]
            spread = min(len(late) / _RESUMED_A_SECOND, _LONGEST_RESUME)
            for run in late:
                self._polls.push(run, now + self._jitter() * spread)
            self._set_timer()

    # Time limits

    def _set_limit(self, subscription: Subscription, run: TrackedRun) -> None:
        at = time_limit(subscription, run).at
        if at < math.inf:
            self._limits.push(subscription, at)
        else:
            self._limits.discard(subscription)

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
        if at <= now and run.polling:
            at = run.poll_sent_at + GRACE
            if now > subscription.due + _BLOCKED and not run.expired:
                at = max(at, now + _BLOCKED)
            run.expired = True
        if at > now:
            if at < math.inf:
                self._limits.push(subscription, at)
            return
        subscription.error = timeout_error(subscription, run, bound)
        self._finish(subscription)


def record_duration(durations: Durations, ended: AnyRun) -> None:
    """Record how long a run took that has *ended*, if it succeeded."""
    created, started = unix_time(ended.created_at), unix_time(ended.started_at)
    end = unix_time(ended.completed_at)
    if end is not None and ended.status == "succeeded":
        total = None if created is None else end - created
        work = None if started is None else end - started
        durations.record(ended.model, ended.version, total=total, work=work)


def pages_per_second(limits: Limits) -> float:
    """Return how many pages waits may fetch: half of what *limits* allow such calls."""
    return math.inf if limits.others is None or not limits.enabled else limits.others / 60 / 2


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC)
