"""A field that names the inputs of a batch, and is no input of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_async import BatchResult, Replicate
from replicate_async.local import LocalReplicate
from tests.runs.batch.api import BatchAPI
from tests.runs.batch.resuming import run

pytestmark = pytest.mark.anyio


def shout(text: str) -> str:
    return text.upper()


class Row(msgspec.Struct):
    id: str
    text: str


async def results_of(
    client: Replicate, inputs: list[Any], journal: Path, **options: Any
) -> list[BatchResult[Any]]:
    batch = client.batch("acme/shout", inputs, journal=journal, ordered=True, **options)
    return [result async for result in batch]


@pytest.mark.parametrize("make", [dict, Row], ids=["mapping", "struct"])
async def test_it_names_the_input_and_is_not_sent(
    server: LocalReplicate, client: Replicate, tmp_path: Path, make: Any
) -> None:
    server.add_model("acme/shout", shout)
    given = [make(id="r1", text="a"), make(id="r2", text="b")]

    results = await results_of(client, given, tmp_path / "run.db", key="id")
    again = client.batch("acme/shout", given, journal=tmp_path / "run.db", key="id", ordered=True)
    replayed = [result.output async for result in again]

    assert [(result.key, result.output) for result in results] == [("r1", "A"), ("r2", "B")]
    assert [result.input for result in results] == given
    sent = [result.prediction and result.prediction.input for result in results]
    assert sent == [{"text": "a"}, {"text": "b"}]
    assert replayed == ["A", "B"]
    assert (again.summary.resumed, again.summary.requests) == (2, 0)


async def test_an_input_that_names_its_item_is_sent(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    server.add_model("acme/shout", shout)

    (result,) = await results_of(client, [{"text": "a"}], tmp_path / "run.db", key="text")

    assert (result.key, result.output) == ("a", "A")


async def test_without_a_schema_it_is_sent_and_a_lost_create_is_found(tmp_path: Path) -> None:
    api = BatchAPI(lose=lambda number: number == 1)
    given = [{"id": "r1", "n": 1}, {"id": "r2", "n": 2}]

    results = await run(api, given, tmp_path / "run.db", key="id", retry_failed=True)

    assert [result.key for result in results] == ["r1", "r2"]
    assert [made.input for made in sorted(api.made, key=lambda made: made.input["n"])] == given
    assert all(result.ok for result in results)


async def test_files_beside_it_are_sent_and_a_lost_create_of_them_is_found(tmp_path: Path) -> None:
    schema: dict[str, Any] = {"components": {"schemas": {"Input": {"properties": {"image": {}}}}}}
    api = BatchAPI(lose=lambda number: number == 1, schema=schema)
    given = [{"id": "r1", "image": b"one"}, {"id": "r2", "image": b"two"}]

    results = await run(api, given, tmp_path / "run.db", key="id")

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert sorted(made.input["image"][-4:] for made in api.made) == ["b25l", "dHdv"]


async def test_a_lost_create_without_it_is_found(tmp_path: Path) -> None:
    schema = {"components": {"schemas": {"Input": {"properties": {"n": {"type": "integer"}}}}}}
    api = BatchAPI(lose=lambda number: number == 1, schema=schema)
    given = [{"id": "r1", "n": 1}, {"id": "r2", "n": 2}]

    results = await run(api, given, tmp_path / "run.db", key="id")

    assert all(result.ok for result in results)
    assert sorted(made.input["n"] for made in api.made) == [1, 2]
    assert all(made.input.keys() == {"n"} for made in api.made)
    assert api.requests["GET models"] == 1
