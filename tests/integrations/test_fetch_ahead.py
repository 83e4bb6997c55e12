from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

import pytest

pytest.importorskip("redis", reason="the integrations session installs it")

from replicate_async.integrations.redis.fetch_ahead import FetchAhead, fetch_size

SETTLED: Final = 20.0


@dataclass
class Store:
    """A store that hands out permits in the order of fetches, in virtual time."""

    interval: float
    now: float = 0.0
    due: float = 0.0
    events: list[tuple[float, int, Callable[[], None]]] = field(
        default_factory=list[tuple[float, int, Callable[[], None]]]
    )
    ids: count[int] = field(default_factory=count)

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.ids), event))

    def take(self, number: int) -> float:
        due = max(self.due, self.now)
        self.due = due + number * self.interval
        return due - self.now

    def run(self, until: float) -> None:
        while self.events[0][0] <= until:
            self.now, _, event = heapq.heappop(self.events)
            event()


@dataclass
class Process:
    """A process that always wants more permits, at some distance from the store."""

    store: Store
    trip: float
    variation: float
    chance: random.Random
    ahead: FetchAhead = field(default_factory=FetchAhead)
    expected: int = 0
    most_expected: int = 0
    permits: list[float] = field(default_factory=list[float])

    def way(self) -> float:
        return self.trip / 2 * (1 + self.variation * self.chance.uniform(-1, 1))

    def fetch(self) -> None:
        store = self.store
        while self.ahead.allows(store.now, self.expected, store.interval):
            self.ahead.sent(store.interval, self.chance.random())
            self.expected += fetch_size(store.interval)
            self.most_expected = max(self.most_expected, self.expected)
            store.after(self.way(), partial(self.arrive, store.now))

    def arrive(self, sent_at: float) -> None:
        wait = self.store.take(fetch_size(self.store.interval))
        self.store.after(self.way(), partial(self.answer, sent_at, wait))

    def answer(self, sent_at: float, wait: float) -> None:
        store, number = self.store, fetch_size(self.store.interval)
        self.ahead.answered(store.now, store.now - sent_at, wait, number, store.interval)
        for permit in range(number):
            store.after(wait + permit * store.interval, self.give)
        store.after(max(0.0, self.ahead.next_at - store.now), self.fetch)

    def give(self) -> None:
        self.expected -= 1
        self.permits.append(self.store.now)
        self.fetch()


def seconds_of(rate: float) -> float:
    return max(20.0, 600 / rate)


def processes(rate: float, trips: Sequence[float], variation: float) -> list[Process]:
    """Run processes for some hundred permits, and twenty seconds before."""
    store = Store(1 / rate)
    each = [Process(store, trip, variation, random.Random(n)) for n, trip in enumerate(trips)]
    for process in each:
        store.after(0.0, process.fetch)
    store.run(SETTLED + seconds_of(rate))
    return each


def late(process: Process) -> int:
    """Return how many permits came after the first seconds."""
    return sum(at > SETTLED for at in process.permits)


@pytest.mark.parametrize("variation", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("rate", [0.1, 1.0, 9.7, 50.0, 200.0])
@pytest.mark.parametrize(
    "trips",
    [
        (0.001, 0.3),
        (0.001, 0.1),
        (0.05, 0.3),
        (0.001, 0.001, 0.3),
        (0.001, 0.3, 0.3),
        (0.02, 0.3, 0.9),
        (0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.3, 0.3),
    ],
)
def test_near_and_distant_processes_get_equal_shares(
    rate: float, trips: Sequence[float], variation: float
) -> None:
    counts = [late(process) for process in processes(rate, trips, variation)]
    share = sum(counts) / len(counts)
    assert sum(counts) >= 0.98 * rate * seconds_of(rate) - 2
    assert max(abs(each - share) for each in counts) <= max(2, 0.2 * share)


@pytest.mark.parametrize("variation", [0.0, 0.2])
@pytest.mark.parametrize("rate", [0.1, 9.7, 200.0, 1000.0])
@pytest.mark.parametrize("trip", [0.001, 0.3, 0.6])
def test_a_process_alone_gets_the_whole_rate(rate: float, trip: float, variation: float) -> None:
    (process,) = processes(rate, [trip], variation)
    assert late(process) >= 0.97 * rate * seconds_of(rate)
    # Those of a trip and a quarter, of one fetch, and a fraction of one permit.
    assert process.most_expected <= 1.25 * 1.3 * trip * rate + 2 * fetch_size(rate**-1) + 1


@pytest.mark.parametrize(("interval", "size"), [(10.0, 1), (0.1, 1), (0.005, 20), (0.001, 64)])
def test_permits_of_a_tenth_of_a_second_are_fetched_together(interval: float, size: int) -> None:
    assert fetch_size(interval) == size


def test_a_fetch_that_failed_does_not_hold_back_the_next() -> None:
    ahead = FetchAhead()
    ahead.sent(10.0, 0.0)
    ahead.answered(0.0, 0.001, 10.0, 1, 10.0)
    assert not ahead.allows(1.0, 1, 10.0)
    assert ahead.allows(10.0, 1, 10.0)
    ahead.sent(10.0, 0.0)
    assert not ahead.allows(11.0, 1, 10.0)
    ahead.failed()
    assert ahead.allows(11.0, 1, 10.0)


def test_dropped_permits_are_fetched_again_at_once() -> None:
    ahead = FetchAhead()
    ahead.sent(10.0, 0.0)
    ahead.answered(0.0, 0.001, 50.0, 1, 10.0)
    assert not ahead.allows(1.0, 0, 10.0)
    ahead.dropped()
    assert ahead.allows(1.0, 0, 10.0)
