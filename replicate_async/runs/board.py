"""The waits of one event loop: who waits for which run, and what becomes of the answers."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from msgspec import Raw

from replicate_async.alarm import Alarm
from replicate_async.core.cover import Cover, Look, missing
from replicate_async.core.durations import Durations
from replicate_async.core.poll_backoff import PollBackoff, pause_after
from replicate_async.core.schedule import Schedule
from replicate_async.errors import NotFoundError
from replicate_async.runs import poll_errors
from replicate_async.runs.bounds import Deadlines
from replicate_async.runs.desk import Desk
from replicate_async.runs.glance import Glance, RawPage, decode, glance, seconds
from replicate_async.runs.poll_errors import REFUSED_FOR
from replicate_async.runs.ticket import Ticket, Watched
from replicate_async.runs.wait import AnyRun, differ, stronger

_FEW: Final = 256
_MANY: Final = 100
_TOGETHER: Final = 0.02
"""Seconds from one look at the schedule to the next when many are on it."""
_RELEASED_A_SECOND: Final = 1000
_LONGEST_RELEASE: Final = 3.0
"""Seconds over which the runs that were held back are polled again."""


class Board:
    """Who waits for which run in *loop*.

    *announced* holds the runs whose end was announced while nobody waited for them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        durations: Durations,
        dice: Callable[[], float],
        *,
        announced: OrderedDict[str, None],
        pages_per_second: float,
    ) -> None:
        self.loop = loop
        self._schedule: Schedule[Watched] = Schedule(durations, dice)
        self._announced = announced
        self._pages_per_second = pages_per_second
        self._dice = dice
        self._backoff = PollBackoff(dice)
        self._held: dict[Watched, None] = {}
        """The runs whose polls are held back."""
        self._covers: dict[str, Cover[Watched]] = {}
        self._runs: dict[str, Watched] = {}
        self._desk = Desk(self._ask, self._ask_page)
        self._deadlines = Deadlines(loop, self._backoff, self.dismiss)
        self._alarm = Alarm(loop, self._tick)
        self._ticked_at = -1.0

    def __len__(self) -> int:
        return len(self._runs)

    def find(self, key: str) -> Watched | None:
        """Return the run that is waited for under *key*."""
        return self._runs.get(key)

    def join(self, ticket: Ticket) -> asyncio.Future[None] | None:
        """Begin to wait; return the future that tells of news or of a call.

        None says that there is one already.
        """
        now = self.loop.time()
        if ticket.began is None:
            ticket.began = now
        run = self._runs.get(ticket.key)
        if run is None:
            run = ticket.watched = self._begin(ticket, now)
        else:
            if ticket.changes and run.last is not None and differ(ticket.known, run.last):
                ticket.known = run.last
                return None
            run.tickets.append(ticket)
            self._repace(run, now)
            ticket.watched = run
        self._deadlines.watch(ticket, run, now)
        if run.slot is None and not run.looking:
            self._ask_now(run, now)
        if run.due < self._alarm.at and not run.looking:
            self._arm(run.due)
        if ticket.called:
            return None
        ticket.future = self.loop.create_future()
        return ticket.future

    def leave(self, ticket: Ticket) -> None:
        """Wait no more; what nobody waits for is not asked for, nor is an answer awaited."""
        run, called = ticket.watched, ticket.called
        if run is not None and ticket in run.tickets:
            self._deadlines.drop(ticket)
            run.tickets.remove(ticket)
            if not run.tickets:
                self._drop(run)
            else:
                if called and run.looking and run.asker is None:
                    self._desk.ask_first(run)
                    self._desk.open()
                self._repace(run, self.loop.time())
        ticket.called = False

    def _begin(self, ticket: Ticket, now: float) -> Watched:
        run = ticket.watched
        resumed = run is not None and not run.looking and run.due < math.inf
        if run is None:
            run = Watched(ticket, now)
        if run.failures:
            run.answered()  # long ago, perhaps: it was not polled since
        run.looking = False
        run.poll, run.brisk = ticket.poll, ticket.changes
        self._runs[run.key] = run
        run.tickets.append(ticket)
        due = run.due if resumed else now
        if run.last is not None:
            self._date(run, run.last, now)
            if not resumed and not run.attempt:
                self._schedule.put_off(run, now)
                due = run.due
        if self._announced.pop(run.key, ()) is None:
            due = now
        if due > now:
            self._schedule.add(run, due)
        else:
            self._schedule.add(run)
            run.due = due
        return run

    def _repace(self, run: Watched, now: float) -> None:
        poll, brisk = stronger([one.poll for one in run.tickets]), run.brisk
        run.brisk = any(one.changes for one in run.tickets)
        if poll == run.poll and brisk == run.brisk:
            return
        run.poll = poll
        if not run.looking:
            self._schedule.move(run, min(run.due, now + self._schedule.pause(run, now)))
            if run.due < self._alarm.at:
                self._arm(run.due)

    def _drop(self, run: Watched) -> None:
        if self._runs.get(run.key) is not run:
            return
        del self._runs[run.key]
        self._schedule.remove(run)
        self._held.pop(run, None)
        if (cover := self._covers.get(run.source.kind)) is not None:
            cover.displace(run)
        if run.asker is not None:
            run.asker.cancel()
        if self._backoff.probe == run.key:
            self._backoff.forget(run.key)
            self._try_later()
        if not self._runs:
            self._desk.clear()
            self._alarm.cancel()
            self._deadlines.cancel()

    def _arm(self, due: float | None = None) -> None:
        """Set the alarm for what is due next, which may be known to be at *due*."""
        if due is None:
            due = self._schedule.next_at()
        if due is not None:
            if len(self._runs) > _MANY:
                due = max(due, self._ticked_at + _TOGETHER)
            self._alarm.set(due)

    def _tick(self, now: float) -> None:
        """Have those asked for who are due."""
        self._ticked_at = now
        self._share_out(self._schedule.take(now), now)
        if self._held:
            self._try_one(now)
        self._arm()

    def _ask_now(self, run: Watched, now: float) -> None:
        """Have *run* asked for; if nothing is known of it, no page shows it."""
        if run.created is not None or not self._call(run):
            self._share_out([run], now)

    def _share_out(self, due: list[Watched], now: float) -> None:
        """Have those who are *due* asked for, one by one or by the page."""
        if self._backoff.closed_at is not None:
            for run in due:
                self._hold(run)
            return
        for kind in dict.fromkeys([run.source.kind for run in due]):
            runs = [run for run in due if run.source.kind == kind]
            cover = self._covers.get(kind)
            if cover is None:
                self._ask_alone(runs)
                continue
            singles, looks, later = cover.plan(runs, now)
            self._ask_alone(singles)
            if looks:
                self._desk.ask_pages([(cover, look) for look in looks])
            for run in later:
                self._schedule.move(run, max(cover.free_at, now + _TOGETHER))
        self._desk.open()

    def _ask_alone(self, runs: Iterable[Watched]) -> None:
        """Have each of *runs* asked for."""
        for run in runs:
            if not self._call(run):
                self._desk.ask(run)

    def _call(self, run: Watched) -> bool:
        """Have the one who waits for *run* ask for it, which takes no task besides its own.

        Of many, most are asleep in some far part of the memory: a few tasks that are not are
        quicker then.
        """
        if len(self._runs) > _FEW or len(run.tickets) != 1:
            return False
        ticket = run.tickets[0]
        if ticket.future is not None:
            if ticket.future.done():
                return False
            ticket.future.set_result(None)
        ticket.called = run.looking = True
        return True

    async def look(self, ticket: Ticket) -> asyncio.Future[None] | None:
        """Ask for the run of *ticket*, whose owner was called.

        Return the future that tells of news or of the next call, or None if there are news.
        """
        run, task = ticket.watched, asyncio.current_task()
        assert run is not None  # noqa: S101 - it was joined
        assert task is not None  # noqa: S101 - that of the owner
        cancels = task.cancelling()
        ticket.task = task
        try:
            if run.looking:
                await self._ask(run, task)
        except asyncio.CancelledError:
            # Nobody cancelled this task if it was interrupted, or the request cancelled itself.
            if task.cancelling() - ticket.interrupted > cancels:
                raise
        finally:
            ticket.task = None
            if ticket.interrupted:
                ticket.interrupted = False
                task.uncancel()
            ticket.called = False
        if ticket not in run.tickets:
            return None
        ticket.future = self.loop.create_future()
        return ticket.future

    async def _ask(self, run: Watched, task: asyncio.Task[Any]) -> None:
        if run.asker is not None:
            return
        backoff = self._backoff
        if backoff.closed_at is not None and backoff.probe != run.key:
            self._hold(run)
            return
        run.asker, run.asked_at = task, self.loop.time()
        try:
            found = await run.source.get(run.run_id)
        except Exception as error:  # noqa: BLE001 - it is for those who wait
            if _heeded(run, task):
                self._failed(run, error)
        except BaseException:
            if _heeded(run, task):
                self._again(run)
            raise
        else:
            if backoff.failures:
                self._reopen()
            if run.asker is task:  # what `_heeded` does, but for every look, so without a call
                run.asker = None
                self.arrived(run, found)

    def _again(self, run: Watched) -> None:
        self._backoff.forget(run.key)
        if run.active:
            self._schedule.put_off(run, self.loop.time())
            self._arm()
        self._try_later()

    async def _ask_page(self, cover: Cover[Watched], look: Look[Watched]) -> None:
        source = look.items[0].source
        if self._backoff.closed_at is not None:
            for item in look.items:
                if item.active and item.looking:
                    self._hold(item)
            return
        try:
            page = await source.page(_moment(look.after), _moment(look.before))
        except Exception:  # noqa: BLE001 - whoever is asked for alone next says what is wrong
            cover.failed(self.loop.time())
            self._ask_alone(self._due(look.items))
        except BaseException:
            for item in look.items:
                self._again(item)
            raise
        else:
            self._read(cover, look, page, source.kind)
        self._arm()

    def _read(self, cover: Cover[Watched], look: Look[Watched], page: RawPage, kind: str) -> None:
        now = self.loop.time()
        if self._backoff.failures:
            self._reopen()
        oldest: float | None = None
        listed: set[str] = set()
        for raw in page.results:
            seen = glance(raw)
            if seen is None:
                continue
            created = seconds(seen.created_at)
            if created is not None and (oldest is None or created < oldest):
                oldest = created
            key = f"{kind}/{seen.id}"
            listed.add(key)
            run = self._runs.get(key)
            if run is not None and run.asker is None:
                cover.place(run, created)
                self._glimpse(run, seen, raw, now)
        more = bool(page.next_url)
        found = sum(item.key in listed for item in look.items)
        cover.answered(now, found, shown=len(page.results), full=more)
        left = self._due(item for item in look.items if item.key not in listed)
        hidden, beyond = missing(left, oldest if more else None)
        for item in hidden:
            cover.hide(item, now)
        self._ask_alone(hidden)
        if not found:
            # Others that were created at the same moment fill the page, and would again.
            self._ask_alone(beyond)
            return
        for item in beyond:
            item.passed_over += 1
            self._schedule.move(item, now)

    def _due(self, items: Iterable[Watched]) -> list[Watched]:
        """Return those of *items* that must be asked for still; the others may wait as before."""
        now = self.loop.time()
        due: list[Watched] = []
        for item in items:
            if item.active and item.looking:
                if item.ripe_at <= now:
                    due.append(item)
                else:
                    self._schedule.move(item, item.due)
        return due

    def _glimpse(self, run: Watched, seen: Glance, raw: Raw, now: float) -> None:
        if run.failures:
            run.answered()
        if run.working_since is None and seen.status != "starting":
            self._deadlines.at_work(run, now)
        self._schedule.dated(run, now, None, seconds(seen.started_at))
        if seen.done or run.brisk:
            whole = decode(raw, run.source.returns) if seen.whole else None
            if whole is not None:
                self.arrived(run, whole)
            elif not self._call(run):
                self._desk.ask_first(run)
            return
        run.seen = True
        self._schedule.looked(run, now, seen.status)

    def arrived(self, run: Watched, found: AnyRun) -> None:
        """Tell those who wait for *run*, if any still do, of the state in which it was *found*."""
        if not run.active:
            return
        now = self.loop.time()
        if run.failures:
            run.answered()
        if run.started is None and (found.started_at is not None or not run.profile):
            self._date(run, found, now)
        if found.done:
            end = seconds(found.completed_at)
            if end is not None and found.status == "succeeded":
                self._schedule.learn(run, end)
            for ticket in tuple(run.tickets):
                ticket.known = found
                self.dismiss(ticket)
            return
        run.seen = True
        if run.working_since is None and found.status != "starting":
            self._deadlines.at_work(run, now)
        self._schedule.looked(run, now, found.status)
        if run.brisk:
            self.show(run, found)
        else:
            run.last = found
        if run.late or run.due < self._alarm.at:
            self._bear(run, now)

    def show(self, run: Watched, found: AnyRun) -> None:
        """Tell those who want to see the changes of *run*."""
        if run.working_since is None and found.status != "starting":
            self._deadlines.at_work(run, self.loop.time())
        run.last, run.status = found, found.status
        for ticket in tuple(run.tickets):
            if ticket.changes and differ(ticket.known, found):
                ticket.known = found
                self.dismiss(ticket)

    def _date(self, run: Watched, found: AnyRun, now: float) -> None:
        if not run.profile:
            run.profile = f"{found.model} {found.version}"
        self._schedule.dated(run, now, seconds(found.created_at), seconds(found.started_at))
        kind = run.source.kind
        cover = self._covers.get(kind)
        if cover is None:
            windowed = run.source.windowed
            cover = Cover[Watched](windowed=windowed, per_second=self._pages_per_second)
            self._covers[kind] = cover
        cover.place(run)

    def _failed(self, run: Watched, error: Exception) -> None:
        """Go on after a poll of *run* that failed, or end the waits for it."""
        now, backoff = self.loop.time(), self._backoff
        meaning = poll_errors.meaning_of(error)
        if meaning == "fatal":
            self._fail(run, partial(poll_errors.copied, error))
            return
        refused, after = meaning == "refused", poll_errors.retry_after(error)
        run.failures += 1
        run.poll_error = poll_errors.shown(error)
        if run.failing_since is None:
            run.failing_since = run.asked_at
        if not refused:
            run.refused_since = None
        elif run.refused_since is None:
            run.refused_since = now
        # A 404 is about one run, and holds no others back.
        if not isinstance(error, NotFoundError) or backoff.probe == run.key:
            backoff.failed(run.key, now, refused=refused, retry_after=after)
        self._refuse(run, error, now)
        if not run.active:
            self._try_later()
            return
        if backoff.closed_at is not None:
            self._hold(run)
        else:
            longest = poll_errors.LONGEST_PAUSE[meaning]
            dice = self._dice()
            pause = pause_after(run.failures, longest=longest, retry_after=after, dice=dice)
            self._schedule.move(run, now + pause)
            run.ripe_at = now + pause
            self._arm(run.due)
        if run.late:
            self._deadlines.look_again(run, now)

    def _refuse(self, run: Watched, error: Exception, now: float) -> None:
        """End the waits whose every poll has been refused for long enough."""
        ended = list[Watched]()
        if run.refused_since is not None and now - run.refused_since >= REFUSED_FOR:
            ended.append(run)
        everywhere = self._backoff.refused_since
        if everywhere is not None and now - everywhere >= REFUSED_FOR:
            # They were not asked for, since the polls of all others were refused.
            ended += [one for one in self._held if now - one.began >= REFUSED_FOR]
        for one in ended:
            last, kind = one.as_last_seen(), one.source.kind
            make = partial(poll_errors.refusal, error, kind, one.run_id, last, seen=one.seen)
            self._fail(one, make)

    def _hold(self, run: Watched) -> None:
        """Hold the polls of *run* back until one of another run is answered."""
        run.looking = False
        if run.active:
            self._held[run] = None
            self._try_later()

    def _try_later(self) -> None:
        """Have one of those that are held back tried with when it is time to."""
        if self._held and self._backoff.probe is None:
            self._alarm.set(self._backoff.open_at)

    def _try_one(self, now: float) -> None:
        backoff = self._backoff
        if backoff.closed_at is None or backoff.probe is not None:
            return
        if now < backoff.open_at:
            self._try_later()
            return
        run = next(iter(self._held))
        del self._held[run]
        backoff.probe = run.key
        self._ask_alone([run])
        self._desk.open()

    def _reopen(self) -> None:
        """Poll again as ever, since a poll was answered."""
        was_closed = self._backoff.closed_at is not None
        self._backoff.worked()
        if not was_closed:
            return
        for cover in self._covers.values():
            cover.recovered()
        held, self._held = self._held, {}
        now = self.loop.time()
        spread = min(len(held) / _RELEASED_A_SECOND, _LONGEST_RELEASE)
        for run in held:
            self._schedule.move(run, now + self._dice() * spread)
        self._arm()

    def _bear(self, run: Watched, now: float) -> None:
        """Go on with *run*, for those whose time is not up."""
        if run.late:
            self._deadlines.look_again(run, now)
        # Nearly always it is set already for somebody who is due before.
        if run.due < self._alarm.at:
            self._arm(run.due)

    def _fail(self, run: Watched, error: Callable[[], BaseException]) -> None:
        for ticket in tuple(run.tickets):
            ticket.error = error()
            self.dismiss(ticket)

    def dismiss(self, ticket: Ticket) -> None:
        """Wake the owner of *ticket*, who need wait no more."""
        run = ticket.watched
        if run is not None and ticket.task is not None and run.asker is ticket.task:
            # The owner is asking itself, and not heeding its future.
            run.asker = None
            ticket.interrupted = True
            ticket.task.cancel()
        elif ticket.future is not None and not ticket.future.done():
            ticket.future.set_result(None)
        self.leave(ticket)


def _heeded(run: Watched, task: asyncio.Task[Any]) -> bool:
    """Note that *task* has asked for *run*; tell whether anybody still wants to know."""
    if run.asker is not task:
        return False
    run.asker = None
    return True


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC)
