"""Inputs that end with an error: items read before are run first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from replicate_async import (
    InvalidArgumentError,
    JournalMismatchError,
    Limits,
    PaymentRequiredError,
    ReplicateError,
)
from replicate_async.runs.batch.journal import State
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.collecting import results_and_error
from tests.runs.batch.resuming import run, states
from tests.runs.batch.test_batch import inputs
from tests.support.embedded import until
from tests.support.replies import problem

pytestmark = pytest.mark.anyio

COUNT = 6


class Broken:
    """Inputs that raise after the sixth, in each of the ways in which inputs are given."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.raised = asyncio.Event()

    def generator(self) -> Iterator[dict[str, object]]:
        yield from inputs(COUNT)
        self.raised.set()
        raise self.error

    async def asynchronous(self) -> AsyncIterator[dict[str, object]]:
        for each in self.generator():
            yield each


def options(**more: Any) -> dict[str, Any]:
    return {"poll": QUICK, "batch_timeouts": SOON, **more}


def let_all_end(api: BatchAPI) -> None:
    api.seconds = 0.0
    for made in api.made:
        made.ends_at = 0.0


@pytest.mark.parametrize("way", ["generator", "asynchronous"])
@pytest.mark.parametrize("journaled", [False, True])
async def test_running_items_are_awaited_before_the_input_error(
    tmp_path: Path, way: str, journaled: bool
) -> None:
    api, broken = BatchAPI(seconds=600.0), Broken(KeyError("column"))
    journal = tmp_path / "batch.db" if journaled else None
    async with api.server() as server, client_of(server.url) as client:
        given = getattr(broken, way)()
        async with client.batch(MODEL, given, **options(journal=journal)) as batch:
            await broken.raised.wait()
            await until(lambda: batch.progress.created == COUNT)
            let_all_end(api)
            results, error = await results_and_error(batch)

    assert sorted(result.unwrap()["n"] for result in results) == list(range(COUNT))
    assert error is broken.error
    assert batch.summary.stopped == "error"
    assert api.creates == COUNT
    assert not any(made.canceled for made in api.made)
    if journal is not None:
        assert await states(journal) == {State.DONE: COUNT}
        api.requests.clear()
        again = await run(api, [{"n": number} for number in range(COUNT + 2)], journal)
        assert [result.ok for result in again] == [True] * (COUNT + 2)
        assert api.requests["create"] == 2


async def test_items_read_before_the_input_error_are_run() -> None:
    api, broken = BatchAPI(), Broken(OSError("the line broke"))
    limits = Limits(creates=6_000, burst=1)
    async with api.server() as server, client_of(server.url, limits=limits) as client:
        batch = client.batch(MODEL, broken.generator(), **options(ordered=True))
        results, error = await results_and_error(batch)

    assert [result.unwrap()["n"] for result in results] == list(range(COUNT))
    assert error is broken.error


def named_by_n(given: Any) -> str:
    return str(given["n"])


UNNAMED: list[tuple[object, dict[str, Any], str]] = [
    ("two", {}, "input 3 is 'two', a str"),
    ({"n": 0}, {"key": "n"}, "input 3 has the key '0', which another has"),
    ({"m": 0}, {"key": "n"}, "input 3 has no value in the field 'n'"),
    ({"m": 0}, {"key": named_by_n}, "'n'"),
]


@pytest.mark.parametrize(("odd", "more", "said"), UNNAMED)
async def test_an_input_without_a_valid_key_ends_the_inputs(
    odd: object, more: dict[str, Any], said: str
) -> None:
    api, given = BatchAPI(), [*inputs(3), odd]
    async with api.server() as server, client_of(server.url) as client:
        results, error = await results_and_error(client.batch(MODEL, given, **options(**more)))

    assert len(results) == api.creates == 3
    assert isinstance(error, InvalidArgumentError | KeyError)
    assert said in str(error)


async def test_a_mismatch_with_the_journal_ends_the_batch_after_running_items(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "batch.db"
    api, more = BatchAPI(), asyncio.Event()
    await run(api, [{"id": "odd", "n": 1}], journal, key="id")

    async def changing() -> AsyncIterator[dict[str, object]]:
        yield {"id": "new", "n": 2}
        await more.wait()
        yield {"id": "odd", "n": 3}

    api.seconds = 600.0
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, changing(), **options(journal=journal, key="id"))
        async with batch:
            await until(lambda: batch.progress.created == 1)
            more.set()
            await until(lambda: batch.summary.stopped == "error")
            let_all_end(api)
            results, error = await results_and_error(batch)

    assert [result.ok for result in results] == [True]
    assert isinstance(error, JournalMismatchError)
    assert not any(made.canceled for made in api.made)


async def test_a_fatal_error_ends_the_wait_for_running_items() -> None:
    api, broken = BatchAPI(seconds=600.0), Broken(KeyError("column"))
    api.refuse = lambda number: problem(402) if number == COUNT else None
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, broken.generator(), **options())
        _, error = await results_and_error(batch)

    assert isinstance(error, PaymentRequiredError)


async def test_leaving_and_stopping_work_while_an_input_error_waits() -> None:
    api = BatchAPI(seconds=600.0)
    async with api.server() as server, client_of(server.url) as client:
        broken = Broken(KeyError("column"))
        async with client.batch(MODEL, broken.generator(), **options()) as batch:
            await until(lambda: batch.progress.created == COUNT)
        assert batch.summary.stopped == "left"
        assert [made.canceled for made in api.made] == [True] * COUNT

        async with client.batch(MODEL, broken.generator(), **options()) as batch:
            await until(lambda: batch.progress.created == COUNT)
            batch.stop(drain=False)
            results, error = await results_and_error(batch)

    assert results == []
    assert error is broken.error
    assert [made.canceled for made in api.made] == [True] * 2 * COUNT


async def test_an_iterator_that_raises_cancelled_error_is_an_error() -> None:
    api, broken = BatchAPI(), Broken(asyncio.CancelledError())
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, broken.asynchronous(), **options())
        results, error = await results_and_error(batch)

    assert len(results) == COUNT
    assert isinstance(error, ReplicateError)
    assert "cancelled after 6 inputs" in str(error)


async def test_a_dry_run_shows_what_was_read_before_the_error() -> None:
    api, broken = BatchAPI(), Broken(KeyError("column"))
    async with api.server() as server, client_of(server.url) as client:
        # A version by its id alone has no schema to be asked for.
        batch = client.batch("5" * 64, broken.generator(), dry_run=True)
        results, error = await results_and_error(batch)

    assert len(results) == COUNT
    assert error is broken.error
    assert api.creates == 0
