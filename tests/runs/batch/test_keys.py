"""Digests and keys of inputs, and the types of inputs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async import InvalidArgumentError
from replicate_async.runs.batch.inputs import open_source
from replicate_async.runs.batch.keys import LARGEST_HASHED, DigestSet, KeyAssigner
from tests.runs.batch.canonical import digest_of

pytestmark = pytest.mark.anyio


class Prompt(msgspec.Struct, kw_only=True, rename="camel"):
    the_prompt: str
    seed: int | None = None


class Array:
    """An object with the method of a NumPy array that is called."""

    def tolist(self) -> list[int]:
        return [1, 2]


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=2000))
def test_a_digest_set_is_a_set(values: list[bytes]) -> None:
    digests, known = DigestSet(), set[bytes]()
    for value in values:
        assert digests.add(value) == (value not in known)
        known.add(value)


def test_a_digest_set_of_many() -> None:
    seen = DigestSet()
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(20_000)]
    assert all(seen.add(each) for each in digests)
    assert not any(seen.add(each) for each in digests)


def test_digests_ignore_the_order_of_names_and_what_is_none() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "c": None, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({"a": 1}) != digest_of({"a": 1}, "n")
    struct, mapping = Prompt(the_prompt="x"), {"thePrompt": "x"}
    assert digest_of(struct) == digest_of(mapping)
    assert digest_of({"a": Array()}) == digest_of({"a": [1, 2]})


def test_files_count_by_content_and_large_ones_by_size_and_time(tmp_path: Path) -> None:
    first, second, large = (tmp_path / name for name in ("a", "b", "large"))
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    with large.open("wb") as opened:
        opened.truncate(LARGEST_HASHED + 1)

    same = digest_of({"f": first})
    assert same == digest_of({"f": second})
    memory = BytesIO(b"same")
    assert digest_of({"f": memory}) == same
    assert memory.tell() == 0
    before = digest_of({"f": large})
    with large.open("ab") as opened:
        opened.write(b"more")
    assert digest_of({"f": large}) != before


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Path("/nowhere/at/all"), "No such file"),
        (object(), "a value of type object cannot be sent"),
    ],
)
def test_what_has_no_digest_is_refused(value: object, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        digest_of({"f": value})


def test_a_stream_that_is_read_once_has_no_digest() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(InvalidArgumentError, match=r'input\["f"\] can be read only once'):
        digest_of({"f": once()})


async def test_keys_are_the_users_or_digests_with_a_number() -> None:
    async def keys(assigner: KeyAssigner, *given: object) -> list[str]:
        return [(await assigner.assign(each))[0].key for each in given]

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
    entry, fault = await KeyAssigner("m", None, exact=True).assign({"a": object()})
    assert (entry.key, type(fault)) == ("invalid-0", InvalidArgumentError)


async def test_sources_are_lists_iterators_and_async_iterators() -> None:
    async def agen() -> AsyncIterator[dict[str, object]]:
        yield {"a": 1}

    for given_inputs, total in (([{"a": 1}], 1), (iter([{"a": 1}]), None), (agen(), None)):
        source = open_source(given_inputs)
        assert source.total == total
        assert [each async for each in source.inputs] == [{"a": 1}]
