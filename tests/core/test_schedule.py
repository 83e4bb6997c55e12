"""When to look at which of many runs, and which of them on a page; without a clock."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest

from replicate_async.core.cover import Cover, missing
from replicate_async.core.durations import Durations, Typical
from replicate_async.core.poll import Poll
from replicate_async.core.schedule import Item, Schedule


def schedule(durations: Durations | None = None, dice: float = 0.0) -> Schedule[Item]:
    return Schedule(durations or Durations(), lambda: dice)


def known(early: float, late: float, model: str = "m") -> Durations:
    durations = Durations()
    for at in range(20):
        for name in (model, f"{model} in all"):
            durations.learn(name, early + (late - early) * at / 19)
    return durations


def processing(age: float, now: float = 1000.0) -> Item:
    item = Item("p", now)
    item.profile, item.status = "m", "processing"
    item.created = item.started = now - age
    return item


def test_what_is_due_is_taken_in_order_and_once() -> None:
    table, dice = schedule(), Random(1)
    items = {f"{at}": dice.uniform(0, 100) for at in range(500)}
    for key, due in items.items():
        table.add(Item(key, 0.0), due)

    taken = [[item.key for item in table.take(float(now))] for now in range(0, 101, 10)]

    assert list(map(len, taken)) == [
        sum(now - 10 < due <= now for due in items.values()) for now in range(0, 101, 10)
    ]
    order = [items[key] for keys in taken for key in keys]
    assert all(after > before - 1 / 64 for before, after in itertools.pairwise(order))
    assert table.next_at() is None
    assert len(table) == 500


def test_what_is_moved_or_removed_is_due_when_it_was_said_last() -> None:
    table = schedule()
    later, sooner, gone = (Item(key, 0.0) for key in ("later", "sooner", "gone"))
    for item in (later, sooner, gone):
        table.add(item, 10.0)
    table.move(later, 20.0)
    table.move(sooner, 5.0)
    table.remove(gone)
    table.remove(gone)

    assert table.next_at() == 5.0
    assert table.take(5.0) == [sooner]
    assert table.take(15.0) == []
    assert table.take(20.0) == [later]
    assert len(table) == 2


def test_what_is_looked_at_already_is_not_due() -> None:
    table, item = schedule(), Item("a", 0.0)
    table.add(item, 1.0)
    item.looking = True

    assert table.take(2.0) == []
    table.move(item, 3.0)
    assert table.take(3.0) == [item]


def test_ten_thousand_that_left_are_not_kept() -> None:
    table = schedule()
    for at in range(10_000):
        item = Item(str(at), 0.0)
        table.add(item, 1000.0 + at)
        table.remove(item)

    assert len(table) == 0
    assert table.next_at() is None
    assert table.take(math.inf) == []


def test_a_model_is_known_after_five_runs_and_forgets_old_ones() -> None:
    durations = Durations()
    for _ in range(4):
        durations.learn("m", 10.0)
    assert durations.typical("m") is None
    durations.learn("m", 10.0)
    assert durations.typical("m") == Typical(10.0, 10.0)

    for _ in range(100):
        durations.learn("m", 50.0)
    assert durations.typical("m") == Typical(50.0, 50.0)


@pytest.mark.parametrize("odd", [-1.0, math.nan, math.inf])
def test_durations_that_cannot_be_are_not_learned(odd: float) -> None:
    durations = Durations()
    for _ in range(10):
        durations.learn("m", odd)

    assert durations.typical("m") is None
    assert len(durations) == 0


def test_the_models_that_are_remembered_are_bounded() -> None:
    durations = Durations()
    for at in range(5000):
        durations.learn("kept", 1.0)
        durations.learn(f"model {at}", 1.0)

    assert len(durations) == 1024
    assert durations.typical("kept") is not None


def test_an_outlier_does_not_change_what_is_typical() -> None:
    durations = known(10, 20)
    durations.learn("m", 3000.0)

    found = durations.typical("m")
    assert found is not None
    assert 10 <= found.early < 13
    assert 17 < found.late <= 20


def test_looks_are_few_before_the_usual_end_close_around_it_and_rare_after() -> None:
    table = schedule(known(30, 36))
    table.dated(processing(0.0), 1000.0, 1000.0, 1000.0)

    young, near, late = (table.pause(processing(age), 1000.0) for age in (15.0, 32.0, 60.0))

    assert 14 < young <= 16
    assert near < 2.0
    assert near < late <= Poll().processing


def test_an_early_end_is_seen_before_a_run_is_twice_as_old() -> None:
    table = schedule(known(100, 110))
    table.dated(processing(0.0), 1000.0, 1000.0, 1000.0)

    assert table.pause(processing(20.0), 1000.0) == pytest.approx(20.0)


def test_a_pace_that_was_given_and_a_watch_pay_no_heed_to_what_is_typical() -> None:
    table = schedule(known(100, 110))
    given, watched = processing(20.0), processing(20.0)
    given.poll, watched.brisk = Poll(first=0.5, starting=0.5, processing=0.5), True

    assert table.pause(given, 1000.0) == 0.5
    assert table.pause(watched, 1000.0) < 1.0


def test_the_dice_only_shorten_a_pause() -> None:
    for age in (5.0, 31.0, 50.0):
        even, lucky = (schedule(known(30, 36), dice) for dice in (0.0, 0.99))
        for table in (even, lucky):
            table.dated(processing(0.0), 1000.0, 1000.0, 1000.0)
        assert lucky.pause(processing(age), 1000.0) <= even.pause(processing(age), 1000.0)


def crowd(count: int, *, apart: float = 1.0) -> tuple[Cover[Item], list[Item]]:
    cover = Cover[Item](windowed=True, per_second=10.0)
    items: list[Item] = []
    for at in range(count):
        item = Item(f"{at:04d}", 0.0)
        cover.place(item, 1000.0 + at * apart)
        items.append(item)
    return cover, items


def test_three_are_asked_for_alone_and_four_on_a_page() -> None:
    for count, pages in ((3, 0), (4, 1)):
        cover, items = crowd(count)
        singles, looks, later = cover.plan(items, 10.0)
        assert (len(singles), len(looks), later) == (0 if pages else count, pages, [])


def test_pages_cover_everybody_once_newest_first() -> None:
    cover, items = crowd(250)

    singles, looks, _ = cover.plan(items[::-1], 10.0)

    assert singles == []
    assert [len(look.items) for look in looks] == [100, 100, 50]
    seen = [item.key for look in looks for item in look.items]
    assert sorted(seen) == [item.key for item in items]
    newest = looks[0]
    assert newest.before is not None
    assert newest.after is not None
    assert newest.after < (newest.items[0].created or 0.0) < newest.before
    assert all(item.looking for item in items)


def test_neighbours_that_are_nearly_due_come_along_and_others_do_not() -> None:
    cover, items = crowd(20)
    for item in items[10:]:
        item.ripe_at = 99.0

    _, looks, _ = cover.plan([items[3]], 10.0)

    assert [look.items for look in looks] == [items[:10]]


def test_pages_beyond_the_rate_are_put_off() -> None:
    cover, items = crowd(3000)

    singles, looks, later = cover.plan(items, 10.0)

    assert singles == []
    assert 8 <= len(looks) <= 10
    assert len(later) == 3000 - 100 * len(looks)
    assert 10.0 <= cover.free_at < 11.0


def test_a_listing_that_fails_is_left_alone_for_longer_and_longer() -> None:
    cover, items = crowd(50)
    off: list[float] = []
    now = 10.0
    for _ in range(8):
        cover.failed(now)
        start = now
        while not cover.plan(items, now)[1]:
            now += 1.0
        off.append(now - start)
        for item in items:
            item.looking = False

    assert off == sorted(off)
    assert off[0] == 30
    assert off[-1] == 480


def test_pages_that_show_next_to_nothing_are_not_asked_for_again_soon() -> None:
    cover, items = crowd(50)
    for _ in range(30):
        cover.answered(10.0, 0, shown=100, full=True)

    assert cover.plan(items, 11.0) == (items, [], [])
    assert cover.plan(items, 60.0)[1]


def test_who_was_passed_over_comes_first_on_the_next_page_and_then_alone() -> None:
    cover, items = crowd(150)
    items[20].passed_over = 1
    _, looks, _ = cover.plan([items[20]], 10.0)
    assert looks[0].items[-1] is items[20]

    cover, items = crowd(150)
    items[20].passed_over = 9
    assert cover.plan([items[20]], 10.0)[0] == [items[20]]


def test_who_is_not_listed_is_looked_for_again_later() -> None:
    cover, items = crowd(20)
    cover.hide(items[5], 10.0)
    singles, looks, _ = cover.plan(items, 10.0)
    assert singles == [items[5]]
    assert items[5] not in looks[0].items

    cover.hide(items[5], 10.0)
    assert items[5].listed_from > 14.0


def test_a_page_of_another_size_is_noticed() -> None:
    cover, items = crowd(100)
    for _ in range(10):
        cover.answered(10.0, 25, shown=25, full=True)

    _, looks, _ = cover.plan(items, 10.0)

    assert len(looks) == 4


def test_a_listing_without_windows_serves_the_newest_alone() -> None:
    cover = Cover[Item](windowed=False, per_second=10.0)
    items = [Item(f"{at:04d}", 0.0) for at in range(150)]
    for at, item in enumerate(items):
        cover.place(item, 1000.0 + at)

    singles, looks, _ = cover.plan(items, 10.0)

    assert len(looks) == 1
    assert looks[0] == (items[50:], None, None)
    assert set(map(id, singles)) == set(map(id, items[:50]))


def test_what_the_listing_says_of_the_time_replaces_what_was_known() -> None:
    cover, items = crowd(10)
    cover.place(items[0], 5000.0)
    for item in items[5:]:
        cover.displace(item)
        cover.displace(item)

    _, looks, _ = cover.plan(items[:5], 10.0)

    assert looks[0].items == [*items[1:5], items[0]]


def test_who_should_have_been_shown_is_told_from_who_is_further_back() -> None:
    _, items = crowd(10)

    hidden, beyond = missing(items, 1004.0)

    assert (hidden, beyond) == (items[5:], items[:5])
    assert missing(items, None) == (items, [])


def test_how_far_listed_times_are_off_is_learned() -> None:
    cover, items = crowd(10)
    exact = [Item(f"exact {at}", 0.0) for at in range(60)]
    for at, item in enumerate(exact):
        item.created = 2000.0 + at
        cover.place(item)
        cover.place(item, 2000.0 + at)
    new = Item("new", 0.0)
    new.created = 3000.0
    cover.place(new)

    _, looks, _ = cover.plan([*items, *exact, new], 10.0)

    assert looks[0].before == pytest.approx(3000.0, abs=0.002)


def test_whoever_stands_between_those_that_are_due_comes_along() -> None:
    cover, items = crowd(12)
    for item in items[::2]:
        item.ripe_at = 99.0

    _, looks, _ = cover.plan(items[1::2], 10.0)

    assert looks[0].items == items[1:]
