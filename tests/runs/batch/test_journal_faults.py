"""The journal when its writer is killed, its disk fails, or its file is damaged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest

from replicate_async.errors import InvalidArgumentError, JournalDamagedError
from replicate_async.runs.batch.journal import Journal
from replicate_async.runs.batch.journal.reader import read, status
from tests.runs.batch.journal_faults import FAULTS, STRACE, faulted, program, wrong
from tests.runs.batch.journal_program import HEADER, lost, write

needs_strace = pytest.mark.skipif(STRACE is None, reason="needs strace: apt-get install strace")


def outcome_of(module: str, *arguments: str) -> dict[str, int]:
    command = [sys.executable, "-m", f"tests.runs.batch.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout, type=dict[str, Any])


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_kills(kills: int) -> None:
    outcome = outcome_of("journal_kills", str(kills), "7")

    assert outcome["kills"] == kills
    assert outcome["acknowledged"] > 30 * kills


@pytest.mark.slow
@needs_strace
def test_what_was_acknowledged_survives_a_loss_of_power() -> None:
    outcome = outcome_of("journal_images", "40", "7")

    assert outcome["acknowledged"] > 100
    assert outcome["unsynced"] > 10


@needs_strace
@pytest.mark.parametrize(("fault", "at"), list(zip(FAULTS, (9, 60, 24, 14, 1), strict=True)))
def test_a_disk_that_fails_ends_it_and_a_resume_completes_it(
    tmp_path: Path, fault: str, at: int
) -> None:
    path = tmp_path / "run.db"

    status, lines = faulted(path, fault, at)

    assert status == 3, lines
    assert wrong(path, status, lines) == []


def test_a_file_that_may_not_grow_ends_it_and_a_resume_completes_it(tmp_path: Path) -> None:
    path = tmp_path / "run.db"

    status, lines = program(path, [], "150000")

    assert status == 3
    assert sum(line.startswith("error JournalWriteError: ") for line in lines) >= 2
    assert any("disk or repair it, and run the same batch again" in line for line in lines)
    assert wrong(path, status, lines) == []


ITEMS: Final = 150


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("journal") / "run.db"
    asyncio.run(write(path, ITEMS, lambda _: None))
    return path.read_bytes()


def damage_of(path: Path) -> list[str]:
    """Open a journal for writing and read all of it; return what is wrong and was not noticed."""

    async def look() -> list[str]:
        async with await Journal.open(path, HEADER) as journal:
            items = [(index, str(index), f"digest {index}") for index in range(ITEMS)]
            await journal.plan(items)
            counted = sum(status(path).counts.values())
        done = [f"{index} done" for index in range(ITEMS)]
        return [*([] if counted == ITEMS else [f"there are {counted}"]), *lost(path, done)]

    try:
        return asyncio.run(look())
    except JournalDamagedError as error:
        return [] if str(path) in str(error) else [f"it does not say of which file: {error}"]


def test_an_intact_journal_is_not_reported_as_damaged(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(whole)

    assert damage_of(path) == []
    assert sum(len(entries) for entries in read(path)) == ITEMS


def test_a_journal_that_was_cut_short_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "run.db"
    for size in (1, 99, 100, 4095, 4096, 8192, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:size])
        with pytest.raises(JournalDamagedError):
            asyncio.run(Journal.open(path, HEADER))
    path.write_bytes(whole[:-1])  # SQLite fills the last page up
    assert damage_of(path) == []


def test_changed_bytes_are_detected_or_have_no_effect(tmp_path: Path, whole: bytes) -> None:
    rng = Random(20_261_123)
    for trial in range(100):
        changed = bytearray(whole)
        # Up to the whole of a page, as disks lose them, or a bit here and there.
        for _ in range(rng.choice((1, 1, 8))):
            at = rng.randrange(100, len(changed))
            changed[at] ^= 1 << rng.randrange(8)
        if trial % 3 == 0:
            page = rng.randrange(1, len(changed) // 4096) * 4096
            changed[page : page + 4096] = rng.choice((bytes(4096), rng.randbytes(4096)))
        path = tmp_path / f"{trial}.db"
        path.write_bytes(changed)

        assert damage_of(path) == [], f"trial {trial}"


@pytest.mark.parametrize(
    ("written", "found"),
    [(b"digest 77", b"digest\xff77"), (b"window_end REAL", b"window_ent REAL")],
    ids=["no UTF-8", "no such column"],
)
def test_damage_to_a_text_or_to_the_schema_is_called_damage(
    tmp_path: Path, whole: bytes, written: bytes, found: bytes
) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(whole.replace(written, found))

    assert damage_of(path) == []
    with pytest.raises(JournalDamagedError, match="is damaged"):
        list(read(path))


def test_reading_notices_damage_too(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(whole.replace(b"p77", b"p78"))

    with pytest.raises(JournalDamagedError, match="of '77' is not as it was written"):
        list(read(path))
    with pytest.raises(InvalidArgumentError, match="there is no journal at"):
        list(read(path.with_name("other.db")))
