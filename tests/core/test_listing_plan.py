"""Which polls one page of the listing answers; without a clock."""

from __future__ import annotations

import pytest

from replicate_async.core.listing_plan import ListingPlan, PageRequest
from replicate_async.core.poll_schedule import PolledRun


def crowd(count: int, *, apart: float = 1.0) -> tuple[ListingPlan[PolledRun], list[PolledRun]]:
    listing = ListingPlan[PolledRun](windowed=True, pages_per_second=10.0)
    runs: list[PolledRun] = []
    for at in range(count):
        run = PolledRun(f"{at:04d}", 0.0)
        listing.add(run, 1000.0 + at * apart)
        runs.append(run)
    return listing, runs


def read(
    listing: ListingPlan[PolledRun],
    runs: list[PolledRun],
    shown: list[str],
    oldest: float | None = None,
) -> set[PolledRun]:
    """Read a page that should show *runs*; return those that must be polled by themselves."""
    for run in runs:
        run.poll_sent_at = 9.0
    return listing.page_read(PageRequest(runs, None, None), shown, oldest, now=10.0)


def again(runs: list[PolledRun]) -> None:
    for run in runs:
        run.poll_sent_at = None


def test_three_runs_are_polled_one_by_one_and_four_by_a_page() -> None:
    for count, pages in ((3, 0), (4, 1)):
        listing, runs = crowd(count)
        singles, requests, later = listing.plan(runs, 10.0)
        assert (len(singles), len(requests), later) == (0 if pages else count, pages, [])


def test_pages_show_each_run_once_newest_first() -> None:
    listing, runs = crowd(250)

    singles, requests, _ = listing.plan(runs[::-1], 10.0)

    assert singles == []
    assert [len(request.runs) for request in requests] == [100, 100, 50]
    seen = [run.key for request in requests for run in request.runs]
    assert sorted(seen) == [run.key for run in runs]
    newest = requests[0]
    assert newest.before is not None
    assert newest.after is not None
    assert newest.after < (newest.runs[0].created or 0.0) < newest.before
    assert all(run.poll_sent_at == 10.0 for run in runs)


def test_a_page_takes_neighbours_that_are_nearly_due_and_no_others() -> None:
    listing, runs = crowd(20)
    for run in runs[10:]:
        run.ripe_at = 99.0

    _, requests, _ = listing.plan([runs[3]], 10.0)

    assert [request.runs for request in requests] == [runs[:10]]


def test_pages_beyond_the_rate_are_put_off() -> None:
    listing, runs = crowd(3000)

    singles, requests, later = listing.plan(runs, 10.0)

    assert singles == []
    assert 8 <= len(requests) <= 10
    assert len(later) == 3000 - 100 * len(requests)
    assert 10.0 <= listing.next_page_at < 11.0


def test_pages_that_fail_are_not_fetched_for_longer_and_longer() -> None:
    listing, runs = crowd(50)
    off: list[float] = []
    now = 10.0
    for _ in range(8):
        listing.page_failed(now)
        start = now
        while not listing.plan(runs, now)[1]:
            now += 1.0
        off.append(now - start)
        for run in runs:
            run.poll_sent_at = None

    assert off == sorted(off)
    assert off[0] == 30
    assert off[-1] == 480


def test_pages_that_show_few_runs_are_not_fetched_again_soon() -> None:
    listing, runs = crowd(50)
    for _ in range(30):
        read(listing, runs[:10], [f"other {at}" for at in range(100)], oldest=1.0)

    assert listing.plan(runs, 11.0) == (runs, [], [])
    assert listing.plan(runs, 60.0)[1]


def test_a_run_beyond_a_page_is_first_on_the_next_and_polled_alone_at_last() -> None:
    listing, runs = crowd(150)
    runs[20].passed_over = 1
    _, requests, _ = listing.plan([runs[20]], 10.0)
    assert requests[0].runs[-1] is runs[20]

    listing, runs = crowd(150)
    runs[20].passed_over = 9
    assert listing.plan([runs[20]], 10.0)[0] == [runs[20]]


def test_a_run_that_is_not_listed_is_expected_on_pages_later() -> None:
    listing, runs = crowd(20)
    shown = [run.key for run in runs if run is not runs[5]]
    assert read(listing, runs, shown) == {runs[5]}
    again(runs)
    singles, requests, _ = listing.plan(runs, 10.0)
    assert singles == [runs[5]]
    assert runs[5] not in requests[0].runs

    read(listing, runs, shown)
    assert runs[5].listed_from > 14.0


def test_another_page_size_is_learnt() -> None:
    listing, runs = crowd(100)
    for _ in range(10):
        read(listing, runs[75:], [run.key for run in runs[75:]], oldest=1075.0)
        again(runs)

    _, requests, _ = listing.plan(runs, 10.0)

    assert len(requests) == 4


def test_a_listing_without_windows_shows_the_newest_runs_only() -> None:
    listing = ListingPlan[PolledRun](windowed=False, pages_per_second=10.0)
    runs = [PolledRun(f"{at:04d}", 0.0) for at in range(150)]
    for at, run in enumerate(runs):
        listing.add(run, 1000.0 + at)

    singles, requests, _ = listing.plan(runs, 10.0)

    assert len(requests) == 1
    assert requests[0] == (runs[50:], None, None)
    assert set(map(id, singles)) == set(map(id, runs[:50]))


def test_a_listed_creation_time_replaces_the_known_one() -> None:
    listing, runs = crowd(10)
    listing.add(runs[0], 5000.0)
    for run in runs[5:]:
        listing.discard(run)
        listing.discard(run)

    _, requests, _ = listing.plan(runs[:5], 10.0)

    assert requests[0].runs == [*runs[1:5], runs[0]]


def test_runs_that_a_page_lacks_are_polled_alone() -> None:
    listing, runs = crowd(10)

    assert read(listing, runs, ["0009"], oldest=1004.0) == set(runs[5:9])
    assert [run.passed_over for run in runs] == [1] * 5 + [0] * 5
    assert read(listing, runs, ["0009"]) == set(runs[:9])


def test_runs_beyond_a_page_that_shows_none_of_them_are_polled_alone() -> None:
    listing, runs = crowd(10)

    assert read(listing, runs, ["another"], oldest=1020.0) == set(runs)


def test_runs_that_are_not_due_or_answered_meanwhile_need_no_poll() -> None:
    listing, runs = crowd(3)
    request = PageRequest(runs, None, None)
    runs[0].poll_sent_at = runs[1].poll_sent_at = 9.0
    runs[1].ripe_at = 11.0

    assert listing.page_read(request, [], None, now=10.0) == {runs[0]}


def test_the_skew_of_listed_times_is_learnt() -> None:
    listing, runs = crowd(10)
    exact = [PolledRun(f"exact {at}", 0.0) for at in range(60)]
    for at, run in enumerate(exact):
        run.created = 2000.0 + at
        listing.add(run)
        listing.add(run, 2000.0 + at)
    new = PolledRun("new", 0.0)
    new.created = 3000.0
    listing.add(new)

    _, requests, _ = listing.plan([*runs, *exact, new], 10.0)

    assert requests[0].before == pytest.approx(3000.0, abs=0.002)


def test_a_page_takes_the_runs_between_due_ones() -> None:
    listing, runs = crowd(12)
    for run in runs[::2]:
        run.ripe_at = 99.0

    _, requests, _ = listing.plan(runs[1::2], 10.0)

    assert requests[0].runs == runs[1:]


def test_runs_that_were_deferred_come_before_newer_ones() -> None:
    listing, runs = crowd(2000)
    first = listing.plan(runs, 10.0)
    deferred = {run.key for run in first.later}
    again(runs)
    second = listing.plan(runs, 12.5)  # newer runs are due again by then
    shown = [run.key for request in second.pages for run in request.runs]
    assert len(shown) > 500
    assert deferred.issuperset(shown)
