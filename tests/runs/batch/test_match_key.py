"""Batches with match="key", whose values differ at each run."""

from __future__ import annotations

import io
from pathlib import Path
from time import time
from typing import Any

import pytest

from replicate_async import InvalidArgumentError, JournalMismatchError
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.keys import KeyAssigner
from tests.runs.batch.api import MODEL, BatchAPI, client_of
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import run, sent_as, states

pytestmark = pytest.mark.anyio

BY_KEY: dict[str, Any] = {"key": "id", "match": "key"}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def signed(count: int, signature: str, **more: object) -> list[dict[str, Any]]:
    return [
        {
            "id": f"row-{number}",
            "image": f"https://bucket.example/{number}.png?signature={signature}",
            "layers": [{"mask": f"https://bucket.example/{number}.mask?signature={signature}"}],
            **more,
        }
        for number in range(count)
    ]


async def intents(journal: Path, given: list[dict[str, Any]]) -> None:
    """Leave a journal as a process does that is killed between an intent and its answer."""
    namer = KeyAssigner(MODEL, "id", exact=False)
    named = [(await namer.assign(each))[0] for each in given]
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await opened.plan([(each.index, each.key, each.digest) for each in named])
        for each, values in zip(named, given, strict=True):
            sent = sent_as(values)
            await record(opened, each.key, "intent", time() - 0.5, time() - 0.5, sent)


async def test_done_items_are_replayed_under_any_values(journal: Path) -> None:
    api = BatchAPI()
    first = await run(api, signed(3, "one"), journal, **BY_KEY)

    again = await run(api, signed(4, "two"), journal, **BY_KEY)

    assert [result.output for result in again[:3]] == [result.output for result in first]
    assert [result.resumed for result in again] == [True, True, True, False]
    assert api.creates == 4
    assert api.made[3].input == signed(4, "two")[3]


async def test_without_it_the_error_names_it(journal: Path) -> None:
    api = BatchAPI()
    await run(api, signed(1, "one"), journal, key="id")

    with pytest.raises(JournalMismatchError, match='match="key"'):
        await run(api, signed(1, "two"), journal, key="id")

    (result,) = await run(api, signed(1, "two"), journal, **BY_KEY)
    assert result.ok
    assert api.creates == 1


async def test_what_was_planned_is_sent_with_the_values_of_now(journal: Path) -> None:
    api = BatchAPI()
    await run(api, signed(2, "one"), journal, max_predictions=1, concurrency=1, **BY_KEY)

    results = await run(api, signed(2, "two"), journal, **BY_KEY)

    assert all(result.ok for result in results)
    assert [made.input["image"][-3:] for made in api.made] == ["one", "two"]


async def test_a_lost_create_is_found_though_its_url_has_another_signature_now(
    journal: Path,
) -> None:
    api = BatchAPI()
    await intents(journal, signed(3, "one", scale=2))
    sent = signed(3, "one", scale=2)
    for number in (0, 2):
        api.make(sent[number])

    results = await run(api, signed(3, "two", scale=2), journal, **BY_KEY)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert api.twice("id") == []
    assert api.creates == 1
    assert api.made[2].input["id"] == "row-1"


async def test_a_lost_create_is_looked_for_by_the_values_that_it_was_sent_with(
    journal: Path,
) -> None:
    api = BatchAPI()
    await intents(journal, signed(2, "one", seed=1))
    api.make(signed(2, "one", seed=1)[0])
    api.make(signed(2, "two", seed=2)[0])

    results = await run(api, signed(2, "two", seed=2), journal, **BY_KEY)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert [result.output for result in results] == [
        signed(2, "one", seed=1)[0],
        signed(2, "two", seed=2)[1],
    ]
    assert api.creates == 1


async def test_a_lost_create_of_a_journal_that_compared_inputs_is_found(journal: Path) -> None:
    api = BatchAPI()
    given = signed(1, "one")
    named, _ = await KeyAssigner(MODEL, "id", exact=True).assign(given[0])
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await opened.plan([(named.index, named.key, named.digest)])
        sent = sent_as(given[0])
        await record(opened, named.key, "intent", time() - 0.5, time() - 0.5, sent)
    api.make(given[0])

    (result,) = await run(api, signed(1, "two"), journal, **BY_KEY)

    assert result.output == given[0]
    assert api.creates == 0


async def test_a_lost_create_of_this_run_is_found_by_its_own_values(journal: Path) -> None:
    api = BatchAPI(lose=lambda number: number == 2)

    results = await run(api, signed(3, "one"), journal, **BY_KEY)

    assert all(result.ok for result in results)
    assert api.creates == len(api.made) == 3


async def test_files_are_not_read_for_it(journal: Path) -> None:
    api = BatchAPI()
    given = [{"id": "a", "image": io.BytesIO(b"x")}]
    await run(api, given, journal, **BY_KEY)

    results = await run(api, [{"id": "a", "image": Path("/not there")}], journal, **BY_KEY)

    assert results[0].ok
    assert await states(journal) == {State.DONE: 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"match": "key"}, 'match="key" needs key='),
        ({"key": "id", "match": "name"}, "match='name' must be one of 'input', 'key'"),
    ],
)
async def test_what_cannot_be_matched_is_refused(options: dict[str, Any], said: str) -> None:
    async with BatchAPI().server() as server, client_of(server.url) as client:
        with pytest.raises(InvalidArgumentError, match=said):
            client.batch(MODEL, [], **options)
