"""A journal whose files are deleted, moved or replaced while its batch runs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from replicate_async import BatchResult, JournalError, JournalLockedError
from replicate_async.runs.batch.journal import Journal, State
from replicate_async.runs.batch.journal.lock import Lock
from replicate_async.runs.batch.journal.reader import status
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.collecting import results_and_error
from tests.runs.batch.journals import HEADER, RESULT, record
from tests.runs.batch.test_batch import inputs
from tests.support.embedded import until

pytestmark = pytest.mark.anyio

CONCURRENCY = 4


def beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def delete_all(path: Path) -> None:
    for each in path.parent.iterdir():
        each.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def replace_lock(path: Path) -> None:
    other = path.with_name("other.lock")
    other.touch()
    other.replace(beside(path, ".lock"))  # in one step, as the check may come between two


HARMS: dict[str, Callable[[Path], object]] = {
    "journal deleted": Path.unlink,
    "all deleted": delete_all,
    "journal renamed": lambda path: path.rename(path.with_name("kept.db")),
    "folder renamed": lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
    "journal replaced": replace,
    "journal overwritten": lambda path: path.write_bytes(b"x" * 100),
    "journal truncated": lambda path: path.write_bytes(b""),
    "log deleted": lambda path: beside(path, "-wal").unlink(),
    "log truncated": lambda path: beside(path, "-wal").write_bytes(b""),
    "lock deleted": lambda path: beside(path, ".lock").unlink(),
    "lock replaced": replace_lock,
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "batch.db"


def let_all_end(api: BatchAPI) -> None:
    api.seconds = 0.0
    for made in api.made:
        made.ends_at = 0.0


async def harmed(
    api: BatchAPI, journal: Path, harm: Callable[[Path], object], count: int
) -> tuple[list[BatchResult[Any]], JournalError]:
    """Run a batch whose journal is harmed while its first predictions run."""
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(
            MODEL,
            inputs(count),
            journal=journal,
            poll=QUICK,
            batch_timeouts=SOON,
            concurrency=CONCURRENCY,
        )
        async with batch:
            running = min(count, CONCURRENCY)
            await until(lambda: batch.progress.created == running)
            # A commit under way would repair some of the damage.
            await until(lambda: status(journal).counts[State.CREATED] == running)
            harm(journal)
            let_all_end(api)
            results, error = await results_and_error(batch)
    assert isinstance(error, JournalError)
    assert batch.how_to_resume == str(error)
    return results, error


@pytest.mark.parametrize("harm", HARMS)
async def test_nothing_is_created_after_the_journal_was_lost(journal: Path, harm: str) -> None:
    api = BatchAPI(seconds=600.0)

    results, error = await harmed(api, journal, HARMS[harm], 40)

    assert api.creates == CONCURRENCY
    assert [result.ok for result in results] == [True] * CONCURRENCY
    assert str(journal) in str(error)
    assert not any(made.canceled for made in api.made)


@pytest.mark.parametrize("harm", ["all deleted", "lock deleted"])
async def test_a_journal_lost_after_the_last_create_raises_at_the_end(
    journal: Path, harm: str
) -> None:
    api = BatchAPI(seconds=600.0)

    results, _ = await harmed(api, journal, HARMS[harm], CONCURRENCY)

    assert [result.ok for result in results] == [True] * CONCURRENCY


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("journal deleted", "was deleted or moved while"),
        ("journal replaced", "was replaced by another file while"),
        ("journal truncated", r"was changed by another program from [\d,]+ to 0 bytes while"),
        ("lock deleted", r"batch\.db\.lock was deleted or moved while"),
        ("lock replaced", r"batch\.db\.lock was replaced by another file while"),
    ],
)
async def test_the_error_names_the_harm_and_does_not_advise_to_resume(
    journal: Path, harm: str, said: str
) -> None:
    _, error = await harmed(BatchAPI(seconds=600.0), journal, HARMS[harm], 40)

    notes = " ".join(error.__notes__)
    with pytest.raises(JournalError, match=said):
        raise error
    assert "with the same journal" not in notes
    assert "The batch stopped after 4 items" in notes


async def test_two_runs_of_one_journal_create_nothing_twice(journal: Path) -> None:
    """The second takes the lock after it was deleted; the first has to notice."""
    api, count = BatchAPI(seconds=600.0), 60
    async with api.server() as server, client_of(server.url) as client:
        options: dict[str, Any] = {"journal": journal, "poll": QUICK, "batch_timeouts": SOON}
        first = client.batch(MODEL, inputs(count), concurrency=CONCURRENCY, **options)
        async with first:
            await until(lambda: first.progress.created == CONCURRENCY)
            beside(journal, ".lock").unlink()
            second = client.batch(MODEL, inputs(count), ordered=True, **options)
            rest = asyncio.create_task(anext(second))
            await until(lambda: second.progress.created > 0)
            let_all_end(api)
            _, error = await results_and_error(first)
            assert isinstance(error, JournalError)
            assert "batch.db.lock was" in str(error)
        results = [await rest, *[result async for result in second]]

    assert api.twice() == []
    assert [result.output for result in results] == inputs(count)


async def test_a_run_that_lost_its_lock_leaves_the_lock_of_another(journal: Path) -> None:
    first = Lock(journal)
    beside(journal, ".lock").unlink()
    second = Lock(journal)
    first.release()

    with pytest.raises(JournalLockedError):
        Lock(journal)
    second.release()
    assert not beside(journal, ".lock").exists()


def size_of(path: Path) -> int:
    return path.stat().st_size


async def test_readers_and_checkpoints_do_not_lose_the_journal(journal: Path) -> None:
    large = RESULT[:-1] + b',"logs":"' + b"x" * 100_000 + b'"}'
    async with await Journal.open(journal, HEADER) as opened:
        size = size_of(journal)
        for number in range(100):
            key = f"key {number}"
            await opened.plan([(number, key, "digest")])
            await record(opened, key, "intent", 1.0)
            await record(opened, key, "created", f"p{number}")
            await record(opened, key, "done", large)
            if number % 20 == 0:
                await asyncio.to_thread(status, journal)
                with closing(sqlite3.connect(journal)) as db:
                    assert db.execute("SELECT count(*) FROM items").fetchone() == (number + 1,)
        assert size_of(journal) > size, "no checkpoint has happened"
