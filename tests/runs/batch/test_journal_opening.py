"""Opening journals: locks, damaged files and other formats."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
import pytest

from replicate_async.errors import (
    InvalidArgumentError,
    JournalDamagedError,
    JournalError,
    JournalLockedError,
    JournalMismatchError,
    JournalTooNewError,
    JournalWriteError,
)
from replicate_async.runs.batch.journal import FORMAT, Journal, JournalHeader
from replicate_async.runs.batch.journal.lock import Lock
from tests.runs.batch.journals import HEADER, ITEMS, RESULT, entries, record
from tests.support.unmeasured import unmeasured

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (JournalHeader(model="acme/other", version="a" * 64, options="o1"), "'acme/painter', not"),
        (JournalHeader(model="acme/painter", version=None, options="o1"), "version"),
        (JournalHeader(model="acme/painter", version="a" * 64), "its options is 'o1', not ''"),
    ],
)
async def test_a_journal_of_another_run_is_refused(
    path: Path, wanted: JournalHeader, said: str
) -> None:
    await (await Journal.open(path, HEADER)).aclose()

    with pytest.raises(JournalMismatchError, match=said):
        await Journal.open(path, wanted)


@pytest.mark.slow  # it is waited for, for 5 seconds
async def test_a_journal_that_another_program_has_locked_says_so(path: Path) -> None:
    await (await Journal.open(path, HEADER)).aclose()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(JournalWriteError, match="is held by another program") as caught:
            await Journal.open(path, HEADER)

    assert "disk" not in str(caught.value)


async def test_a_second_runner_is_refused_and_let_in_later(path: Path) -> None:
    first = await Journal.open(path, HEADER)
    link = path.with_name("link.db")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(
            JournalLockedError, match=rf"in use by another run \(process {os.getpid()}"
        ):
            await Journal.open(name, HEADER)
    await first.plan(ITEMS)
    await first.aclose()

    async with await Journal.open(link, HEADER) as second:
        assert len(await entries(second)) == 5


HOLD: Final = """
import asyncio, os, sys
from replicate_async.runs.batch.journal import Journal, JournalHeader

async def main():
    journal = await Journal.open(sys.argv[1], JournalHeader(model="acme/painter"))
    await journal.plan([(0, "key", "digest")])
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def test_a_runner_that_was_killed_lets_the_next_one_in(path: Path) -> None:
    header = JournalHeader(model="acme/painter")
    command = [sys.executable, "-c", HOLD, str(path)]
    runner = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env=unmeasured()
    )
    assert runner.stdout is not None
    assert await runner.stdout.readline() == b"open\n"
    with pytest.raises(JournalLockedError, match=f"process {runner.pid} "):
        await Journal.open(path, header)
    runner.kill()
    await runner.communicate()

    async with await Journal.open(path, header) as journal:
        assert [entry.key for entry in await entries(journal)] == ["key"]


async def test_a_lock_has_one_holder_at_a_time(path: Path) -> None:
    holders: list[int] = []
    most = 0

    def come_and_go() -> None:
        nonlocal most
        for _ in range(100):
            try:
                lock = Lock(path)
            except JournalLockedError:
                continue
            holders.append(1)
            most = max(most, len(holders))
            holders.pop()
            lock.release()

    await asyncio.gather(*(asyncio.to_thread(come_and_go) for _ in range(4)))

    assert most == 1


async def test_a_missing_journal_is_refused_without_create(path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no journal at"):
        await Journal.open(path, HEADER, create=False)

    assert list(path.parent.iterdir()) == []


async def test_a_folder_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(JournalWriteError, match="Check that its folder is there"):
        await Journal.open(path / "deeper.db", HEADER)


async def test_remains_of_a_crashed_creation_are_removed(path: Path) -> None:
    path.with_name("run.db.new").write_bytes(b"half")

    async with await Journal.open(path, HEADER) as journal:
        await journal.plan(ITEMS)

    assert [file.name for file in path.parent.iterdir()] == ["run.db"]


# Files that are not to be trusted.


async def test_an_older_format_is_refused_with_what_to_do(path: Path) -> None:
    await (await Journal.open(path, HEADER)).aclose()
    change(path, "PRAGMA user_version = 1")

    with pytest.raises(JournalError, match="format 1, of an older version"):
        await Journal.open(path, HEADER)


async def test_a_newer_format_is_refused(path: Path) -> None:
    await (await Journal.open(path, HEADER)).aclose()
    change(path, f"PRAGMA user_version = {FORMAT + 1}")

    with pytest.raises(JournalTooNewError, match="update it to resume"):
        await Journal.open(path, HEADER)


def change(path: Path, statement: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompt,seed\nA fox,1\n" * 100, "not a database"),
        (b"", "is empty, and a journal never is"),
        (None, "is not a journal: use another path"),
    ],
)
async def test_a_file_that_is_no_journal_is_refused_and_left_alone(
    path: Path, content: bytes | None, said: str
) -> None:
    file = anyio.Path(path)
    if content is None:
        change(path, "CREATE TABLE mine (a)")
        content = await file.read_bytes()
    await file.write_bytes(content)

    with pytest.raises(JournalDamagedError, match=said):
        await Journal.open(path, HEADER)

    assert await file.read_bytes() == content


async def test_a_log_without_its_journal_is_refused(path: Path) -> None:
    path.with_name("run.db-wal").write_bytes(b"log")

    with pytest.raises(JournalDamagedError, match=r"is gone, and run\.db-wal beside it is not"):
        await Journal.open(path, HEADER)

    assert os.listdir(path.parent) == ["run.db-wal"]  # noqa: PTH208 - no path object to await


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET prediction_id = 'other' WHERE key = 'key 1'",
        "UPDATE items SET state = 'planned' WHERE key = 'key 1'",
        "UPDATE contents SET result = CAST('{}' AS BLOB)",
        "UPDATE contents SET value = CAST('{}' AS BLOB)",
        "DELETE FROM contents",
    ],
)
async def test_a_row_that_was_changed_is_noticed_and_ends_it(path: Path, statement: str) -> None:
    async with await Journal.open(path, HEADER) as journal:
        await journal.plan(ITEMS)
        await record(journal, "key 1", "done", RESULT)
    change(path, statement)

    async with await Journal.open(path, HEADER) as journal:
        with pytest.raises(JournalDamagedError, match="of 'key 1' is not as it was written"):
            await journal.plan(ITEMS)
        with pytest.raises(JournalDamagedError):
            await journal.plan([])


async def test_a_header_that_was_changed_is_noticed(path: Path) -> None:
    await (await Journal.open(path, HEADER)).aclose()
    change(path, "UPDATE header SET json = CAST('{}' AS BLOB)")

    with pytest.raises(JournalDamagedError, match="its header is not as it was written"):
        await Journal.open(path, HEADER)


# Where it may be used, and what a cancel means.
