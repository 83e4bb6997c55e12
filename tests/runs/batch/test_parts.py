"""The parts of a batch that are plain values: digests, keys, normalize, results, figures."""

from __future__ import annotations

import asyncio
import enum
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async import InvalidArgumentError
from replicate_async.runs.batch.breaker import CircuitBreaker
from replicate_async.runs.batch.comparison import comparable, differs
from replicate_async.runs.batch.digest_set import DigestSet
from replicate_async.runs.batch.dry_run import validate
from replicate_async.runs.batch.identity import (
    A_FILE,
    LARGEST_HASHED,
    digest,
    has_file,
    matches,
    normalize,
)
from replicate_async.runs.batch.inputs import open_source
from replicate_async.runs.batch.keys import KeyAssigner, KeyedInput
from replicate_async.runs.batch.result_queue import ResultQueue
from replicate_async.runs.batch.results import BatchResult, predict_seconds
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.schemas import Prediction

pytestmark = pytest.mark.anyio

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Color(enum.Enum):
    RED = "red"


class Prompt(msgspec.Struct, kw_only=True, rename="camel"):
    the_prompt: str
    seed: int | None = None


class Array:
    """An array of numpy's, as far as anybody looks."""

    def tolist(self) -> list[int]:
        return [1, 2]


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=2000))
def test_seen_is_a_set(values: list[bytes]) -> None:
    seen, known = DigestSet(), set[int]()
    for value in values:
        number = int.from_bytes(value, "little") or 1
        assert seen.add(value) == (number not in known)
        known.add(number)
    assert len(seen) == len(known)


def test_seen_grows() -> None:
    seen = DigestSet()
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(5000)]
    assert all(seen.add(each) for each in digests)
    assert not any(seen.add(each) for each in digests)
    assert len(seen) == 5000


def test_digests_ignore_the_order_of_names_and_what_is_none() -> None:
    assert digest("m", {"a": 1, "b": 2}, read=False) == digest(
        "m", {"b": 2, "c": None, "a": 1}, read=False
    )
    assert digest("m", {"a": 1}, read=False) != digest("m", {"a": 2}, read=False)
    assert digest("m", {"a": 1}, read=False) != digest("n", {"a": 1}, read=False)
    struct, mapping = Prompt(the_prompt="x"), {"thePrompt": "x"}
    assert digest("m", struct, read=False) == digest("m", mapping, read=False)
    assert digest("m", {"a": Array()}, read=False) == digest("m", {"a": [1, 2]}, read=False)


def test_files_count_by_content_and_large_ones_by_size_and_time(tmp_path: Path) -> None:
    first, second, large = (tmp_path / name for name in ("a", "b", "large"))
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    with large.open("wb") as opened:
        opened.truncate(LARGEST_HASHED + 1)

    assert digest("m", {"f": first}, read=False) is None
    same = digest("m", {"f": first}, read=True)
    assert same == digest("m", {"f": second}, read=True)
    memory = BytesIO(b"same")
    assert digest("m", {"f": memory}, read=True) == same
    assert memory.tell() == 0
    before = digest("m", {"f": large}, read=True)
    with large.open("ab") as opened:
        opened.write(b"more")
    assert digest("m", {"f": large}, read=True) != before


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Path("/nowhere/at/all"), "No such file"),
        (object(), "a value of type object cannot be sent"),
    ],
)
def test_what_has_no_digest_is_refused(value: object, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        digest("m", {"f": value}, read=True)


def test_a_stream_that_is_read_once_has_no_digest() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(InvalidArgumentError, match=r'input\["f"\] can be read only once'):
        digest("m", {"f": once()}, read=True)


@given(JSON)
def test_an_input_is_like_itself_after_a_round_trip(value: Any) -> None:
    decoded = msgspec.json.decode(msgspec.json.encode(value))
    assert matches(normalize(value), normalize(decoded))
    assert not differs(comparable(normalize(value)), comparable(normalize(decoded)))


def test_numbers_and_booleans_are_compared_as_json_does() -> None:
    assert matches(normalize({"a": 1.0}), normalize({"a": 1}))
    assert not matches(normalize({"a": True}), normalize({"a": 1}))
    assert not matches(normalize({"a": [1]}), normalize({"a": [1, 2]}))
    assert not matches(normalize({"a": 1}), normalize({"a": 1, "b": 2}))
    assert normalize({"when": datetime(2026, 1, 2, tzinfo=UTC), "c": Color.RED, "s": {3}}) == {
        "when": "2026-01-02T00:00:00Z",
        "c": "red",
        "s": [3],
    }


def test_any_string_may_stand_for_a_file_and_nothing_else() -> None:
    for file in (Path("a"), b"a", BytesIO(), "data:text/plain,a"):
        ours = normalize({"f": file, "n": [1]})
        assert has_file(ours)
        assert not matches(ours, normalize({"f": "https://elsewhere", "n": [1]}))
        assert not matches(ours, normalize({"f": 3, "n": [1]}))
        assert not matches(ours, normalize({"f": "https://elsewhere", "n": [2]}))
    assert has_file([{"deep": A_FILE}])
    assert not has_file({"a": ["b"]})
    assert repr(A_FILE) == "<a file>"


async def test_keys_are_the_users_or_digests_with_a_number() -> None:
    async def keys(assigner: KeyAssigner, *given: object) -> list[str]:
        return [(await assigner.assign(each)).key for each in given]

    digests = await keys(KeyAssigner("m", None, exact=True), {"a": 1}, {"a": 2}, {"a": 1}, {"a": 1})
    assert digests[2:] == [f"{digests[0]}-2", f"{digests[0]}-3"]
    assert await keys(KeyAssigner("m", None, exact=True), {"a": 2}) == digests[1:2]
    assert await keys(KeyAssigner("m", "id", exact=True), {"id": 7}, {"id": "x"}) == ["7", "x"]
    assert await keys(
        KeyAssigner("m", lambda given: f"row {len(str(given))}", exact=False), {"a": 1}
    )
    assert await keys(KeyAssigner("m", None, exact=False), {"a": 1}, {"a": 1}) == ["0", "1"]
    with pytest.raises(InvalidArgumentError, match="a key of 600 characters"):
        await keys(KeyAssigner("m", "id", exact=False), {"id": "x" * 600})
    invalid: KeyedInput = await KeyAssigner("m", None, exact=True).assign({"a": object()})
    assert (invalid.key, type(invalid.fault)) == ("invalid-0", InvalidArgumentError)


async def test_sources_are_lists_iterators_and_async_iterators() -> None:
    async def agen() -> AsyncIterator[dict[str, object]]:
        yield {"a": 1}

    for given_inputs, total in (([{"a": 1}], 1), (iter([{"a": 1}]), None), (agen(), None)):
        source = open_source(given_inputs)
        assert source.total == total
        assert [each async for each in source.inputs] == [{"a": 1}]


def result(index: int) -> BatchResult[int]:
    return BatchResult(key=str(index), index=index, input={}, output=index)


async def test_a_queue_in_order_has_no_room_for_items_too_far_ahead() -> None:
    results: ResultQueue[int] = ResultQueue(room=2, ordered=True)
    results.put(result(1))
    assert len(results) == 1
    assert results.has_room(1)
    assert not results.has_room(2)
    waiting = asyncio.create_task(results.get())
    await asyncio.sleep(0)
    results.put(result(0))
    assert (await waiting) == result(0)
    results.put(result(5))
    results.close(KeyError("end"))
    assert [await results.get(), await results.get()] == [result(1), result(5)]
    with pytest.raises(KeyError):
        await results.get()
    assert await results.get() is None


async def test_an_open_breaker_lets_one_probe_leave_at_growing_intervals() -> None:
    now, slept = 0.0, list[float]()

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    breaker = CircuitBreaker(lambda: now, sleep, 100.0)
    for _ in range(4):
        async with breaker.attempt():
            breaker.failed()
    assert not breaker.is_open
    for _ in range(20):  # all that were under way
        breaker.failed()
    for _ in range(8):
        async with breaker.attempt():
            breaker.failed()
    assert slept == [1, 2, 4, 8, 16, 32, 60, 60]
    assert breaker.gave_up

    async def second() -> bool:
        async with breaker.attempt():
            return breaker.is_open

    async with breaker.attempt():
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        assert not waiting.done()
        breaker.succeeded()
    assert await waiting is False
    assert len(slept) == 9
    assert not breaker.gave_up


async def test_a_cancelled_probe_lets_the_next_one_leave() -> None:
    breaker = CircuitBreaker(lambda: 0.0, asyncio.sleep, 100.0)
    for _ in range(5):
        breaker.failed()

    async def probe() -> None:
        async with breaker.attempt():
            pass

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    probing.cancel()
    await asyncio.wait({probing})
    breaker.succeeded()
    await probe()


def test_rates_look_back_half_a_minute() -> None:
    now = 0.0
    tally = BatchStats(lambda: now, total=1000)
    assert tally.progress().eta is None
    assert tally.seconds == 0.0
    tally.began = 0.0
    for second in range(100):
        now = float(second)
        tally.count(result(second), replayed=False)
    progress = tally.progress()
    assert progress.rate == pytest.approx(1.0, abs=0.1)
    assert progress.eta == pytest.approx(900, rel=0.1)
    assert tally.summary(requests=1, stopped=None).throughput == pytest.approx(1.0, abs=0.1)


def test_seconds_of_predicting_are_read_from_the_metrics() -> None:
    assert predict_seconds(None) == 0.0
    made = msgspec.convert(
        {"id": "a", "status": "succeeded", "urls": {}, "metrics": {"predict_time": 2}}, Prediction
    )
    assert predict_seconds(made) == 2.0
    assert BatchResult[int](key="", index=0, input={}, prediction=made).predict_seconds == 2.0


SCHEMA: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "required": ["text"],
                "properties": {
                    "text": {"type": "string"},
                    "count": {"type": "integer", "minimum": 1, "maximum": 4},
                    "style": {"allOf": [{"$ref": "#/components/schemas/style"}]},
                    "loud": {"type": "boolean"},
                    "list": {"type": "array"},
                },
            },
            "style": {"type": "string", "enum": ["a", "b"]},
        }
    }
}


@pytest.mark.parametrize(
    ("given_input", "says"),
    [
        ({"text": "x"}, None),
        ({"text": "x", "count": 4, "style": "a", "loud": True, "list": (1,)}, None),
        ({"text": Path("a"), "unknown": 1}, None),
        ({"count": 1}, "text is required and missing."),
        ({"text": 3}, "text=3 is no string."),
        ({"text": "x", "count": 0}, "count=0 is less than 1."),
        ({"text": "x", "count": 5}, "count=5 is more than 4."),
        ({"text": "x", "count": 1.5}, "count=1.5 is no integer."),
        ({"text": "x", "count": True}, "count=True is no integer."),
        ({"text": "x", "loud": 1}, "loud=1 is no boolean."),
        ({"text": "x", "style": "c"}, "style='c' is none of 'a', 'b'."),
        ({"text": "x", "list": "abc"}, "list='abc' is no array."),
    ],
)
def test_a_dry_run_compares_inputs_with_the_schema(
    given_input: dict[str, object], says: str | None
) -> None:
    assert validate(given_input, SCHEMA) == says
