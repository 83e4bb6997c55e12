"""Looking into a journal and exporting it, while its batch runs and afterwards."""

from __future__ import annotations

import csv
import gc
import importlib
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import anyio
import msgspec
import pytest

from replicate_async.core.problem import Problem
from replicate_async.errors import InvalidArgumentError, JournalDamagedError, status_error
from replicate_async.runs.batch.journal import Journal, JournalHeader
from replicate_async.runs.batch.journal.export import COLUMNS, Format, export
from replicate_async.runs.batch.journal.reader import read, status
from replicate_async.runs.batch.result_codec import store, store_refusal
from replicate_async.schemas import Prediction, PredictionURLs
from tests.runs.batch.journals import record

pytestmark = pytest.mark.anyio

HEADER: Final = JournalHeader(model="acme/painter")
PAINTED: Final = msgspec.json.encode(
    {
        "id": "p0",
        "status": "succeeded",
        "output": ["https://example.com/a.png"],
        "metrics": {"predict_time": 1.5},
        "created_at": "2026-11-23T10:00:00Z",
        "started_at": "2026-11-23T10:00:01Z",
        "completed_at": "2026-11-23T10:00:02.5Z",
        "batch": {"files": ["a.png"]},
    }
)
TOLD: Final = b'{"status":"succeeded","output":"A \\"fox\\",\\nred","metrics":{"predict_time":2}}'
FAILED: Final = b'{"status":"failed","output":null,"error":"Out of paint"}'


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal that is in use."""
    async with await Journal.open(tmp_path / "run.db", HEADER) as opened:
        await opened.plan([(index, f"key {index}", "d") for index in range(5)])
        for index, result in enumerate((PAINTED, TOLD, FAILED)):
            await record(opened, f"key {index}", "intent", 90.0 + index)
            await record(opened, f"key {index}", "created", f"p{index}")
            await record(opened, f"key {index}", "done", result, 100.0 + 10 * index)
        await record(opened, "key 1", "finished", b'{"words":2}')
        await record(opened, "key 3", "intent", 95.0)
        yield opened


def lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def files_named(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*{name}*"))


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_status_says_how_far_a_running_batch_is(journal: Journal) -> None:
    seen = status(journal.path)

    assert seen.header == journal.header
    assert seen.counts == {
        "planned": 1,
        "intent": 1,
        "created": 0,
        "done": 2,
        "finished": 1,
        "uncertain": 0,
    }
    assert (seen.succeeded, seen.failed) == (2, 1)
    assert seen.usage.predict_seconds == 3.5
    assert (seen.began_at, seen.last_done_at) == (90.0, 120.0)
    assert seen.per_second == 0.1


async def test_status_has_the_usage_and_the_cost_of_recorded_results(journal: Journal) -> None:
    problem = Problem(status=422, title="", detail="no such n")
    refusal = status_error(problem, operation="predictions.create", retry_after=None)
    await record(journal, "key 4", "done", store_refusal(refusal))

    unpriced = status(journal.path).usage
    priced = status(journal.path, {"unknown": lambda metrics: metrics["predict_time"] * 2}).usage

    assert (unpriced.predictions, unpriced.predict_seconds, unpriced.cost) == (3, 3.5, None)
    assert priced.cost == 7.0


async def test_status_of_a_batch_that_has_not_begun(tmp_path: Path) -> None:
    await (await Journal.open(tmp_path / "run.db", HEADER)).aclose()

    seen = status(tmp_path / "run.db")

    assert set(seen.counts.values()) == {0}
    assert (seen.succeeded, seen.failed, seen.usage.predict_seconds) == (0, 0, 0.0)
    assert (seen.began_at, seen.last_done_at, seen.per_second) == (None, None, None)


async def test_lines_have_everything_and_outputs_as_they_are(
    journal: Journal, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"

    assert export(journal.path, out) == 5

    painted, told, failed, begun, planned = lines(out)
    assert tuple(painted) == COLUMNS
    assert painted == {
        "key": "key 0",
        "index": 0,
        "state": "done",
        "status": "succeeded",
        "output": ["https://example.com/a.png"],
        "error": None,
        "value": None,
        "prediction_id": "p0",
        "files": ["a.png"],
        "attempts": 1,
        "predict_seconds": 1.5,
        "created_at": "2026-11-23T10:00:00Z",
        "started_at": "2026-11-23T10:00:01Z",
        "completed_at": "2026-11-23T10:00:02.5Z",
    }
    assert told["output"] == 'A "fox",\nred'
    assert (told["state"], told["value"]) == ("finished", {"words": 2})
    assert (failed["status"], failed["output"], failed["error"]) == ("failed", None, "Out of paint")
    assert (begun["state"], begun["status"], begun["attempts"]) == ("intent", None, 1)
    assert (planned["state"], planned["prediction_id"]) == ("planned", None)


async def test_csv_has_strings_plain_and_the_rest_as_json(journal: Journal, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"

    export(journal.path, out, "csv")

    painted, told, failed, *_ = rows_of_csv(out)
    assert tuple(painted) == COLUMNS
    assert (painted["value"], told["value"]) == ("", '{"words":2}')
    assert (painted["output"], painted["files"]) == ('["https://example.com/a.png"]', '["a.png"]')
    assert (told["output"], told["files"], told["predict_seconds"]) == ('A "fox",\nred', "", "2.0")
    assert (failed["error"], failed["output"]) == ("Out of paint", "")


@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_a_list_is_a_text_only_where_the_schema_said_so(
    tmp_path: Path, format: Format
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="the integrations session installs it")
    chunks = Prediction(id="p", status="succeeded", urls=PredictionURLs(), output=["cat", "dog"])
    failed = Prediction(id="q", status="failed", urls=PredictionURLs())
    async with await Journal.open(tmp_path / "run.db", HEADER) as journal:
        await journal.plan([(index, f"{index}", "d") for index in range(3)])
        for index, result in enumerate(
            [store(chunks), store(chunks, is_text=True), store(failed, is_text=True)]
        ):
            await record(journal, f"{index}", "intent", 90.0)
            await record(journal, f"{index}", "created", f"p{index}")
            await record(journal, f"{index}", "done", result)
        out = tmp_path / f"out.{format}"
        export(journal.path, out, format)
        export(journal.path, tmp_path / "out.jsonl")

    if format == "csv":
        outputs = [row["output"] or None for row in rows_of_csv(out)]
    else:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        outputs = parquet.read_table(out).column("output").to_pylist()
    assert outputs == ['["cat","dog"]', "catdog", None]
    assert [row["output"] for row in lines(tmp_path / "out.jsonl")] == [["cat", "dog"]] * 2 + [None]


async def test_parquet_has_the_same_in_typed_columns(journal: Journal, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the integrations session installs it")
    out = tmp_path / "out.parquet"

    assert export(journal.path, out, "parquet") == 5

    table = parquet.read_table(out)
    rows = cast("list[dict[str, Any]]", table.to_pylist())
    assert tuple(table.column_names) == COLUMNS
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0]["output"] == '["https://example.com/a.png"]'
    assert rows[1]["output"] == 'A "fox",\nred'
    assert [row["predict_seconds"] for row in rows] == [1.5, 2.0, None, None, None]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_an_empty_journal_can_be_exported(tmp_path: Path, format: Format) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="the integrations session installs it")
    await (await Journal.open(tmp_path / "run.db", HEADER)).aclose()

    assert export(tmp_path / "run.db", tmp_path / "out", format) == 0


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_an_export_of_nothing_leaves_nothing(tmp_path: Path, format: Format) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="the integrations session installs it")
    with pytest.raises(InvalidArgumentError, match="there is no journal at"):
        export(tmp_path / "none.db", tmp_path / "out", format)
    gc.collect()  # an open table writer warns when it is collected

    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are enough


async def test_an_export_that_fails_leaves_what_was_there(journal: Journal, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    await anyio.Path(out).write_text("earlier")

    before = sorted(os.listdir(tmp_path))  # noqa: PTH208 - names are enough
    with pytest.raises(InvalidArgumentError, match="there is no journal at"):
        export(tmp_path / "other.db", out)

    assert await anyio.Path(out).read_text() == "earlier"
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208 - names are enough


async def test_an_export_leaves_the_part_file_of_a_running_batch(
    journal: Journal, tmp_path: Path
) -> None:
    part = tmp_path / "out.jsonl.part"
    part.write_bytes(b"results so far")

    export(journal.path, tmp_path / "out.jsonl")

    assert part.read_bytes() == b"results so far"
    assert files_named(tmp_path, "out.jsonl") == ["out.jsonl", "out.jsonl.part"]


async def test_parquet_without_pyarrow_names_what_to_install(
    journal: Journal, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; sys.modules['pyarrow'] = None\n"
        "from replicate_async.runs.batch.journal.export import export\n"
        "export(Path(sys.argv[1]), Path(sys.argv[2]), 'parquet')"
    )

    done = run(program, str(journal.path), str(tmp_path / "out"))

    assert "pip install 'replicate-async[dataframe]' pyarrow" in done.stderr
    assert not await anyio.Path(tmp_path / "out").exists()


async def test_reading_leaves_no_files(journal: Journal) -> None:
    folder = journal.path.parent
    names = sorted(os.listdir(folder))  # noqa: PTH208 - names are enough
    status(journal.path)
    assert sorted(os.listdir(folder)) == names  # noqa: PTH208 - names are enough

    await journal.aclose()
    before = await anyio.Path(journal.path).read_bytes()
    assert sum(len(entries) for entries in read(journal.path)) == 5
    assert os.listdir(folder) == ["run.db"]  # noqa: PTH208 - names are enough
    assert await anyio.Path(journal.path).read_bytes() == before


async def test_a_journal_that_may_not_be_written_can_be_read(journal: Journal) -> None:
    await journal.aclose()
    done = read_only(await anyio.Path(journal.path).read_bytes())

    assert done.stdout == "5\n", done.stderr


def read_only(journal: bytes) -> subprocess.CompletedProcess[str]:
    """Read the status of a journal whose file and folder may not be written."""
    program = (
        "import os, sys\n"
        "from replicate_async.runs.batch.journal.reader import status\n"
        "if not os.getuid(): os.setuid(65534)\n"
        "print(sum(status(sys.argv[1]).counts.values()))"
    )
    # Outside of pytest's folders: each start of another pytest makes those private.
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.db")
        path.write_bytes(journal)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        done = run(program, str(path))
        path.parent.chmod(0o700)
    return done


async def test_no_export_replaces_its_journal(journal: Journal, tmp_path: Path) -> None:
    link = anyio.Path(tmp_path / "out.csv")
    await link.symlink_to(tmp_path / "run.db")

    for out in (tmp_path / "run.db", tmp_path / "in" / ".." / "run.db", Path(link)):
        with pytest.raises(InvalidArgumentError, match="would replace the journal"):
            export(tmp_path / "run.db", out, "csv")

    assert status(tmp_path / "run.db").succeeded == 2


async def test_a_file_that_is_no_journal_is_not_read(tmp_path: Path) -> None:
    await anyio.Path(tmp_path / "run.db").write_text("prompt\nA fox\n" * 100)

    with pytest.raises(JournalDamagedError):
        status(tmp_path / "run.db")
