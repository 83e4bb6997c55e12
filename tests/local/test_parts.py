from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from replicate_async.local.clock import Clock, timestamp
from replicate_async.local.http.errors import Problem
from replicate_async.local.http.pagination import Cursor, paginate
from replicate_async.local.http.rate_limit import RateLimiter
from replicate_async.local.runtime.outbound_hosts import OutboundHosts
from replicate_async.local.settings import RateLimits
from replicate_async.local.store.blobs import in_memory
from replicate_async.local.store.files import FileStore

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


@given(st.floats(0, 4e9).map(lambda value: round(value, 6)), st.booleans())
def test_cursors_come_back_as_they_went(position: float, reverse: bool) -> None:
    cursor = Cursor(position, reverse)

    assert Cursor.decode(cursor.encode()) == cursor


def test_a_cursor_looks_like_djangos() -> None:
    cursor = "cD0yMDIzLTExLTE1KzA1JTNBMDMlM0E0Ny4yMDM5MDMlMkIwMCUzQTAw"

    assert Cursor.decode(cursor).encode() == cursor


@given(
    st.lists(st.integers(0, 1000), unique=True, max_size=30),
    st.integers(1, 7),
    st.booleans(),
)
def test_following_next_visits_everything_once_in_order(
    items: list[int], size: int, ascending: bool
) -> None:
    url = URL("http://localhost/v1/things?cursor=&sort=x")
    found: list[int] = []
    pages: list[list[int]] = []
    while True:
        page = paginate(
            items, url, size=size, position=float, view=lambda item: item, ascending=ascending
        )
        found += page["results"]
        pages.append(page["results"])
        if page["next"] is None:
            break
        url = URL(page["next"], encoded=True)
        assert url.query["sort"] == "x"

    assert found == sorted(items, reverse=not ascending)
    for expected in pages[-2::-1]:
        url = URL(page["previous"], encoded=True)
        page = paginate(
            items, url, size=size, position=float, view=lambda item: item, ascending=ascending
        )
        assert page["results"] == expected
    assert page["previous"] is None


class StoppedClock(Clock):
    """Shows the same time for ever."""

    def now(self) -> float:
        return 1000.0


def test_buckets_are_counted() -> None:
    clock = StoppedClock()
    limiter = RateLimiter(RateLimits(create=60), clock)
    for left in range(59, -1, -1):
        assert limiter.take("a", "create")["ratelimit-remaining"] == str(left)

    with pytest.raises(Problem) as refusal:
        limiter.take("a", "create")

    assert refusal.value.headers["Retry-After"] == "1"
    assert limiter.take("b", "create")["ratelimit-remaining"] == "59"
    assert RateLimiter(RateLimits.off(), clock).take("a", "get") == {}


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        (("localhost",), "http://localhost:1/x", True),
        (("localhost",), "https://example.com/x", False),
        (("example.com",), "https://EXAMPLE.com/x", True),
        (("*",), "https://example.com/x", True),
        (("*",), "http://example.com/x", False),
        (("*",), "https://10.0.0.1/x", False),
        (("*",), "https://169.254.169.254/x", False),
        (("*",), "https://[::ffff:127.0.0.1]/x", False),
        (("*",), "https://[fe80::1]/x", False),
        (("*",), "https://8.8.8.8/x", True),
        (("10.0.0.1",), "http://10.0.0.1/x", True),
        (("*",), "ftp://example.com/x", False),
    ],
    ids=str,
)
def test_the_guard_lets_through_what_it_was_told(
    hosts: tuple[str, ...], url: str, allowed: bool
) -> None:
    assert OutboundHosts(hosts).allows(URL(url)) is allowed


@pytest.mark.parametrize(
    ("hosts", "host", "address", "allowed"),
    [
        (("*",), "example.com", "93.184.216.34", True),
        (("*",), "example.com", "127.0.0.1", False),
        (("*",), "example.com", "10.1.2.3", False),
        (("*",), "example.com", "::ffff:10.1.2.3", False),
        (("localhost",), "localhost", "::1", True),
        (("db",), "DB", "10.1.2.3", True),
        (("*",), "example.com", "nonsense", False),
    ],
    ids=str,
)
def test_a_public_name_for_a_private_address_is_refused(
    hosts: tuple[str, ...], host: str, address: str, allowed: bool
) -> None:
    assert OutboundHosts(hosts).allows_address(host, address) is allowed


@pytest.mark.anyio
async def test_old_uploads_make_room_for_new_ones() -> None:
    clock = Clock()
    store = FileStore(clock, expiry=10, capacity=10)
    for name in ("a", "b"):
        content = in_memory(b"x" * 6)
        store.upload("dev", content, name=name, content_type="text/plain", metadata={})

    assert [stored.name for stored in store.uploads.values()] == ["b"]
    clock.advance(11)
    assert store.uploads == {}
    clock.close()


def test_old_outputs_make_room_for_new_ones() -> None:
    store = FileStore(Clock(), expiry=1, capacity=10)
    first = store.add_output(in_memory(b"x" * 6), name="a", content_type="text/plain")
    second = store.add_output(in_memory(b"x" * 6), name="b", content_type="text/plain")

    assert list(store.outputs) == [second.path]
    store.delete_output(first.path)
    store.delete_output(second.path)
    assert store.outputs == {}


@pytest.mark.anyio
async def test_time_can_be_moved_forward() -> None:
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
async def test_timers_fire_by_themselves_too() -> None:
    clock = Clock()

    await clock.sleep(0.01)

    clock.close()
