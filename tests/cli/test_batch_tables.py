"""``batch`` over tables as tools write them, and over rows that come on standard input."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicate_async import Prediction, Replicate
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal.export import export
from tests.cli.program import ended, environment, run, start

pytestmark = pytest.mark.anyio


def results_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def predictions(server: LocalReplicate) -> list[Prediction]:
    async with Replicate(server.api_token, base_url=server.url) as client:
        return [prediction async for prediction in client.predictions.list()]


async def until_written(path: Path, count: int) -> None:
    """Wait until another process has written *count* lines."""
    while not path.exists() or len(path.read_text().splitlines()) < count:  # noqa: ASYNC110, ASYNC240 - as above
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("argument", [("-i", "-"), ("--input=-",)], ids=" ".join)
async def test_each_row_on_stdin_runs_when_it_is_there(
    server: LocalReplicate, tmp_path: Path, argument: tuple[str, ...]
) -> None:
    out = tmp_path / "out.jsonl"
    process = await start("batch", "local/echo", *argument, "-o", f"{out}",
                          env=environment(server), stdin=asyncio.subprocess.PIPE)  # fmt: skip
    assert process.stdin is not None

    for number in range(3):
        process.stdin.write(b'{"value": %d}\n' % number)
        await until_written(tmp_path / "out.jsonl.part", number + 1)
    process.stdin.close()
    ran = await ended(process)

    assert ran.code == 0, ran.err
    assert [row["output"] for row in results_in(out)] == [0, 1, 2]


async def test_ctrl_c_ends_a_batch_that_waits_for_stdin(
    server: LocalReplicate, tmp_path: Path
) -> None:
    process = await start("batch", "local/echo", "-i", "-", "-o", f"{tmp_path / 'out.jsonl'}",
                          env=environment(server), stdin=asyncio.subprocess.PIPE)  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b'{"value": 1}\n')
    await until_written(tmp_path / "out.jsonl.part", 1)

    process.send_signal(signal.SIGINT)

    assert await process.wait() == 130  # and standard input is still open


async def test_a_bad_row_on_stdin_is_named(server: LocalReplicate, tmp_path: Path) -> None:
    process = await start("batch", "local/echo", "-i", "-", "-o", f"{tmp_path / 'out.jsonl'}",
                          env=environment(server), stdin=asyncio.subprocess.PIPE)  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(b'\xef\xbb\xbf{"value": 1}\nno row\n')
    process.stdin.close()

    ran = await ended(process)

    assert ran.code == 2
    assert "error: standard input, line 2: " in ran.err


async def test_a_bad_cell_is_said_before_anything_is_created(
    server: LocalReplicate, tmp_path: Path
) -> None:
    rows = tmp_path / "in.csv"
    rows.write_text("name,count\n" + "a,1.0\n" * 20 + "b,many\n")

    ran = await run("batch", "acme/shapes", "-i", f"{rows}", "-o", f"{tmp_path / 'out.jsonl'}",
                    server=server)  # fmt: skip

    assert ran.code == 2
    assert f"{rows}, line 22, column 'count': count takes an integer" in ran.err
    assert await predictions(server) == []


@pytest.mark.parametrize("mapped", [(), ("--map", "name=text")], ids=["all", "mapped"])
async def test_an_id_column_identifies_the_rows_of_an_excel_table(
    server: LocalReplicate, tmp_path: Path, mapped: tuple[str, ...]
) -> None:
    rows, out = tmp_path / "in.csv", tmp_path / "out.csv"
    column = "text" if mapped else "name"
    long = "x" * 200_000
    rows.write_text(f"id;{column}\nr1;straße\nr2;{long}\n", encoding="utf-16")

    ran = await run("batch", "acme/shapes", "-i", f"{rows}", "-o", f"{out}", "--key", "id", *mapped,
                    server=server)  # fmt: skip

    assert ran.code == 0, ran.err
    csv.field_size_limit(2**31 - 1)
    with out.open(newline="") as file:
        found = {row["key"]: row for row in csv.DictReader(file)}
    assert json.loads(found["r1"]["output"])["name"] == "straße"
    assert json.loads(found["r2"]["output"])["name"] == long
    assert json.loads(found["r1"]["input"]) == {"name": "straße"}


def each_word(text: str) -> Iterator[str]:
    yield from text.split("-")


@pytest.mark.parametrize(
    ("model", "cell"),
    [("acme/each", '["cat","dog"]'), ("acme/spell", "cat-dog")],
)
async def test_a_cell_is_a_text_only_where_the_models_schema_says_so(
    server: LocalReplicate, tmp_path: Path, model: str, cell: str
) -> None:
    server.add_model("acme/each", each_word)
    rows, out = tmp_path / "in.csv", tmp_path / "out.csv"
    rows.write_text(("word" if model == "acme/spell" else "text") + "\ncat-dog\n")

    ran = await run("batch", model, "-i", f"{rows}", "-o", f"{out}", server=server)
    await asyncio.to_thread(export, tmp_path / "out.csv.journal", tmp_path / "all.csv", "csv")

    assert ran.code == 0, ran.err
    for path in (out, tmp_path / "all.csv"):
        with path.open(newline="") as file:
            assert [row["output"] for row in csv.DictReader(file)] == [cell]


async def test_an_option_after_input_is_not_taken_for_a_file(
    server: LocalReplicate, tmp_path: Path
) -> None:
    ran = await run("batch", "local/echo", "-i", "-o", f"{tmp_path / 'out.jsonl'}", server=server)

    assert ran.code == 2
    assert "error: " in ran.err
    assert await predictions(server) == []
