from __future__ import annotations

import asyncio

import pytest

from replicate_async.local.clock import Clock, timestamp

MOMENT = 1_700_000_000.123456


@pytest.mark.parametrize(
    ("digits", "text"),
    [
        (0, "2023-11-14T22:13:20Z"),
        (3, "2023-11-14T22:13:20.123Z"),
        (6, "2023-11-14T22:13:20.123456Z"),
        (9, "2023-11-14T22:13:20.123456000Z"),
    ],
)
def test_timestamps_have_as_many_digits_as_asked(digits: int, text: str) -> None:
    assert timestamp(MOMENT, digits) == text


def test_stamps_are_never_equal() -> None:
    clock = Clock()

    stamps = [clock.stamp() for _ in range(1000)]

    assert len(set(stamps)) == 1000
    assert stamps == sorted(stamps)


@pytest.mark.anyio
async def test_advance_fires_timers_and_ends_sleeps() -> None:
    clock = Clock()
    sleeping = asyncio.create_task(clock.sleep(3600))
    fired: list[str] = []
    clock.call_later(20, lambda: fired.append("second"))
    clock.call_later(10, lambda: fired.append("first"))
    clock.call_later(15, lambda: fired.append("cancelled")).cancel()
    await asyncio.sleep(0)

    clock.advance(30)
    assert fired == ["first", "second"]
    assert not sleeping.done()
    clock.advance(3600)

    await sleeping
    await clock.sleep(0)
    clock.close()


@pytest.mark.anyio
async def test_timers_fire_without_advance() -> None:
    clock = Clock()

    await clock.sleep(0.01)

    clock.close()
