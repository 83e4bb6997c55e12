"""The heap of what falls due."""

from __future__ import annotations

import gc
import math
import weakref

from replicate_async.core.due_heap import DueHeap


class Item:
    due = 0.0
    push_id = 0


def test_items_come_in_the_order_of_their_last_times() -> None:
    heap = DueHeap[Item]()
    first, second, third = Item(), Item(), Item()
    for item, due in ((first, 1.0), (second, 2.0), (third, 3.0), (first, 4.0)):
        heap.push(item, due)

    assert (len(heap), heap.next_due()) == (3, 2.0)
    assert heap.pop_due(1.5) == []
    assert heap.pop_due(9.0, 2) == [second, third]
    assert heap.pop_due(9.0) == [first]
    assert (len(heap), heap.next_due()) == (0, math.inf)


def test_an_item_that_is_removed_does_not_come() -> None:
    heap = DueHeap[Item]()
    kept, removed = Item(), Item()
    heap.push(kept, 2.0)
    heap.push(removed, 1.0)
    for _ in range(2):
        heap.discard(removed)

    assert heap.next_due() == 2.0
    assert heap.pop_due(9.0) == [kept]


def test_items_that_are_removed_early_are_dropped_long_before_they_are_due() -> None:
    heap = DueHeap[Item]()
    kept = Item()
    heap.push(kept, 1.0)

    def removed_item() -> weakref.ref[Item]:
        item = Item()
        heap.push(item, 3600.0)
        heap.discard(item)
        return weakref.ref(item)

    removed = [removed_item() for _ in range(1_000)]
    gc.collect()

    assert sum(each() is not None for each in removed) <= 66
