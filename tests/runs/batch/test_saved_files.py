"""Saved files: each item has its own, and no file is replaced."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest

from replicate_async import BatchResult, Replicate
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from tests.runs.batch.api import MODEL, BatchAPI, Made
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import run, states

pytestmark = pytest.mark.anyio


def picture(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"


def drawn(made: Made) -> None:
    """Give the input back as two files."""
    text = str(made.input)
    made.output = [picture(f"{text} {part} {made.id}".encode()) for part in "ab"]


def contents(folder: Path) -> dict[str, int]:
    return Counter(path.read_text() for path in folder.iterdir())


PAIRS = [
    ("cats/001", "dogs/001"),
    ("https://a.example/1", "https://b.example/1"),
    ("a:b", "a?b"),
    ("x" * 300 + "1", "x" * 300 + "2"),
    ("item 1.", "item 1"),
    ("\u00e9", "e\u0301"),
    ("Cat", "cat"),
    ("cat", "cat.2"),
    ("cat", "cat-2"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=ascii)
async def test_keys_that_look_alike_keep_all_their_files(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    results = await run(
        BatchAPI(outcome=drawn),
        [{"name": name} for name in pair],
        tmp_path / "run.db",
        key="name",
        save_files=tmp_path / "out",
    )

    assert [result.error for result in results] == [None, None]
    paths = [path for result in results for path in result.files]
    assert len({str(path).casefold() for path in paths}) == 4
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    for result, name in zip(results, pair, strict=True):
        assert [name in path.read_text() for path in result.files] == [True, True]


async def test_another_batch_replaces_no_file_of_the_first(tmp_path: Path) -> None:
    api, given = BatchAPI(outcome=drawn), [{"name": "a"}]
    options = {"key": "name", "save_files": tmp_path / "out"}

    first = await run(api, given, tmp_path / "one.db", **options)
    second = await run(api, given, tmp_path / "two.db", **options)

    def names(results: list[BatchResult[object]]) -> list[str]:
        return [path.name for path in results[0].files]

    assert names(first) == ["a.png", "a.2.png"]
    assert names(second) == ["a (2).png", "a.2 (2).png"]
    assert len(contents(tmp_path / "out")) == 4


async def test_a_resume_finds_the_files_that_a_killed_run_had_saved(tmp_path: Path) -> None:
    api, journal, out = BatchAPI(outcome=drawn), tmp_path / "run.db", tmp_path / "out"
    given = [{"name": name} for name in ("a", "Cat", "b/c")]
    before = await run(api, given, journal, key="name", save_files=out)
    await forget_the_ends(journal)

    after = await run(api, given, journal, key="name", save_files=out)

    assert [result.files for result in after] == [result.files for result in before]
    assert len(list(out.iterdir())) == 6
    assert len(api.made) == 3
    assert await states(journal) == {State.DONE: 3}


async def forget_the_ends(journal: Path) -> None:
    """Leave a journal as a process does that is killed when files are saved and nothing is said."""
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        done = [entry async for entry in opened.entries(State.DONE)]
        for entry in done:
            assert entry.prediction_id is not None
            await record(opened, entry.key, "reset")
            await record(opened, entry.key, "intent", 1.0)
            await record(opened, entry.key, "created", entry.prediction_id)


async def test_a_file_that_the_user_had_there_stays(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    (tmp_path / "0.png").write_text("a photo")
    batch = client.batch("local/mandelbrot", [{"width": 16, "height": 16}], save_files=tmp_path)

    (result,) = [result async for result in batch]

    assert [path.name for path in result.files] == ["0 (2).png"]
    assert (tmp_path / "0.png").read_text() == "a photo"
