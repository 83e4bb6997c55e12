"""``batch``, as a program, against an embedded server."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from replicate_async import Prediction, Replicate
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from tests.cli.program import Terminal, ended, environment, run, start
from tests.runs.batch.journals import record
from tests.support.unmeasured import unmeasured

pytestmark = pytest.mark.anyio


def rows_in(folder: Path, count: int) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"words": f"item {at}"}) + "\n" for at in range(count)))
    return path


def results_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def predictions(server: LocalReplicate) -> list[Prediction]:
    async with Replicate(server.api_token, base_url=server.url) as client:
        return [prediction async for prediction in client.predictions.list()]


async def test_every_row_has_a_result_and_the_same_command_pays_for_nothing_again(
    server: LocalReplicate, tmp_path: Path
) -> None:
    rows, out = rows_in(tmp_path, 12), tmp_path / "out.jsonl"
    command = ("batch", "replicate/hello-world", "-i", f"{rows}", "-o", f"{out}")

    first = await run(*command, "--map", "text=words", server=server)
    before = results_in(out)
    second = await run(*command, "--map", "text=words", server=server)

    assert (first.code, first.out) == (0, "")
    assert first.err.startswith("12 ok in ")
    assert first.err.endswith(f"12 rows in {out}\n")
    assert second.err.startswith("12 ok, 12 resumed in ")
    assert sorted(row["output"] for row in before) == sorted(f"hello item {n}" for n in range(12))
    assert len(results_in(out)) == 12
    assert len(await predictions(server)) == 12
    names = sorted(path.name for path in await asyncio.to_thread(lambda: [*tmp_path.iterdir()]))
    assert names == ["in.jsonl", "out.jsonl", "out.jsonl.journal"]


async def test_tables_go_in_and_come_out(server: LocalReplicate, tmp_path: Path) -> None:
    rows, out = tmp_path / "in.csv", tmp_path / "out.csv"
    rows.write_text("name,count\na,1\nb,2\n")

    ran = await run("batch", "acme/shapes", "kind=square", "-i", f"{rows}", "-o", f"{out}",
                    server=server)  # fmt: skip
    exported = await run("batch", "export", f"{out}.journal", "-o", f"{tmp_path / 'all.csv'}")
    lines = await run("batch", "export", f"{out}.journal", "-o", f"{tmp_path / 'all.ndjson'}")
    shown = await run("batch", "status", f"{out}.journal")

    assert ran.code == 0, ran.err
    with out.open(newline="") as file:
        found = {row["index"]: json.loads(row["output"]) for row in csv.DictReader(file)}
    assert found["1"]["count"] == 2
    assert found["0"]["kind"] == "square"
    assert exported.err.startswith("2 rows in ")
    assert lines.err == f"2 rows in {tmp_path / 'all.ndjson'}\n"
    assert "succeeded\t2\n" in shown.out


async def test_failed_rows_are_reported_and_retry_failed_runs_them_again(
    server: LocalReplicate, tmp_path: Path
) -> None:
    failing = True

    def picky(word: str) -> str:
        if failing and word == "bad":
            raise ValueError("no luck")
        return word.upper()

    server.add_model("acme/picky", picky)
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"word": "good"}\n{"word": "bad"}\n')
    command = ("batch", "acme/picky", "-i", f"{rows}", "-o", f"{out}")

    first = await run(*command, server=server)
    errors = [row["error"] for row in results_in(out) if row["error"]]
    failing = False
    again = await run(*command, "--retry-failed", server=server)

    assert first.code == 1
    assert "error: 1 of 2 failed; the results say why. --retry-failed runs them" in first.err
    assert "The first error: " in first.err
    assert "no luck" in first.err
    assert len(errors) == 1
    assert "no luck" in errors[0]
    assert again.code == 0, again.err
    assert {row["output"] for row in results_in(out)} == {"GOOD", "BAD"}
    assert len(await predictions(server)) == 3


async def until_running(server: LocalReplicate, count: int) -> None:
    while len(await predictions(server)) < count:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("choice", ["drain", "cancel"])
async def test_ctrl_c_stops_creating_and_prints_how_to_resume(
    server: LocalReplicate, tmp_path: Path, choice: str
) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    seconds = 0.5 if choice == "drain" else 50
    rows.write_text("".join(f'{{"seconds": {seconds + at / 1000}}}\n' for at in range(40)))
    command = (
        "batch", "local/slow", "-i", f"{rows}", "-o", f"{out}",
        "--concurrency", "3", "--on-interrupt", choice,
    )  # fmt: skip
    process = await start(*command, env=environment(server))
    await until_running(server, 3)

    process.send_signal(signal.SIGINT)
    ran = await ended(process)

    assert ran.code == 130
    assert "No more predictions are created" in ran.err
    assert f"batch local/slow -i {rows}" in ran.err
    count = 3 if choice == "drain" else 0
    assert len(results_in(part) if (part := tmp_path / "out.jsonl.part").exists() else []) >= count
    assert not out.exists()
    found = await predictions(server)
    kept = "succeeded" if choice == "drain" else "canceled"
    assert {prediction.status for prediction in found} == {kept}
    assert len(found) < 40


async def test_a_second_ctrl_c_ends_it_at_once_and_nothing_is_made_twice(
    server: LocalReplicate, tmp_path: Path
) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(f'{{"number": {at}}}\n' for at in range(4)))
    gate = asyncio.Event()

    async def gated(number: int) -> int:
        await gate.wait()
        return number

    server.add_model("acme/gated", gated)
    command = ("batch", "acme/gated", "-i", f"{rows}", "-o", f"{out}", "--concurrency", "2")
    process = await start(*command, env=environment(server))
    await until_running(server, 2)

    process.send_signal(signal.SIGINT)
    while b"Ctrl-C again" not in (line := await process.stderr.readline()):  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess] - it is a pipe
        assert line
    process.send_signal(signal.SIGINT)
    ran = await ended(process)
    gate.set()
    again = await run(*command, server=server)

    assert ran.code == 130
    assert "To resume: " in ran.err
    assert again.code == 0, again.err
    made = [prediction.input or {} for prediction in await predictions(server)]
    assert sorted(given["number"] for given in made) == [0, 1, 2, 3]


async def test_results_are_replaced_by_whole_ones_only(
    server: LocalReplicate, tmp_path: Path
) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [f'{{"seconds": {at / 100}}}\n' for at in range(3)]
    rows.write_text("".join(lines))
    command = ("batch", "local/slow", "-i", f"{rows}", "-o", f"{out}")
    whole = await run(*command, server=server)
    former = out.read_text()

    refused = await run("batch", "local/echo", "value=x", *command[2:], server=server)
    after_refusal = out.read_text()
    rows.write_text("".join([*lines, '{"seconds": 50}\n']))
    process = await start(*command, "--on-interrupt", "cancel", env=environment(server))
    await until_running(server, 4)
    process.send_signal(signal.SIGINT)
    interrupted = await ended(process)
    after_interrupt, so_far = out.read_text(), results_in(tmp_path / "out.jsonl.part")
    limited = await run(*command, "--max-predictions", "0", server=server)

    assert whole.code == 0, whole.err
    assert (refused.code, after_refusal) == (1, former)
    assert "belongs to another run" in refused.err
    assert (interrupted.code, after_interrupt) == (130, former)
    assert f"{len(so_far)} rows so far in {out}.part; {out} is written at the end." in (
        interrupted.err
    )
    assert len(so_far) >= 3
    assert limited.code == 0, limited.err
    assert f"3 of 4 rows in {out}" in limited.err
    assert not (tmp_path / "out.jsonl.part").exists()


async def test_the_run_after_a_kill_says_that_it_looks_for_open_creates(
    server: LocalReplicate, tmp_path: Path
) -> None:
    rows, out = rows_in(tmp_path, 4), tmp_path / "out.jsonl"
    command = ("batch", "replicate/hello-world", "-i", f"{rows}", "-o", f"{out}", "--map",
               "text=words")  # fmt: skip
    await run(*command, "--max-predictions", "3", "--concurrency", "1", server=server)
    async with await Journal.open(
        f"{out}.journal", JournalHeader(model="replicate/hello-world")
    ) as journal:
        done = [entry async for entry in journal.entries(State.DONE)]
        await record(journal, done[0].key, "reset")
        await record(journal, done[0].key, "intent", time.time() - 20)

    process = await start(*command, env=unmeasured(environment(server)))
    while b"looked for in the list" not in (line := await process.stderr.readline()):  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess] - it is a pipe
        assert line
    while len(results_in(part) if (part := tmp_path / "out.jsonl.part").exists() else []) < 3:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    await ended(process)

    assert len(await predictions(server)) == 4


async def test_a_terminal_shows_the_progress(server: LocalReplicate, tmp_path: Path) -> None:
    rows, out = rows_in(tmp_path, 5), tmp_path / "out.jsonl"
    terminal = await Terminal.start(
        "batch", "replicate/hello-world", "-i", f"{rows}", "-o", f"{out}", "--map", "text=words",
        "--rate", "20/s", server=server,
    )  # fmt: skip

    assert await terminal.ended() == 0
    assert "5 ok · " in terminal.text
    assert " of 20/s" in terminal.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "fast"), "--rate 'fast' is not a rate"),
        (("--rate", "0"), "--rate '0' is not a rate"),
        (("--rate", "nan/s"), "--rate 'nan/s' is not a rate"),
        (("--map", "text"), "--map 'text' is not input=column"),
        (("--output", "out.txt"), "ends in none of .jsonl"),
        (("--input", "none.jsonl"), "none.jsonl is not a file"),
    ],
)
async def test_a_wrong_option_is_a_usage_error(
    server: LocalReplicate, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    given = {"--input": f"{rows_in(tmp_path, 1)}", "--output": f"{tmp_path / 'out.jsonl'}"}
    given[arguments[0]] = arguments[1]
    flags = [part for pair in given.items() for part in pair]

    ran = await run("batch", "replicate/hello-world", *flags, server=server)

    assert ran.code == 2
    assert said in ran.err
    assert await predictions(server) == []


@pytest.mark.parametrize(
    ("option", "name", "other"),
    [
        ("--output", "in.jsonl", "--input"),
        ("--journal", "in.jsonl", "--input"),
        ("--journal", "../batch/out.jsonl", "--output"),
        ("--journal", "out.jsonl.part", "the results so far"),
    ],
)
async def test_no_file_is_read_and_written_at_once(
    server: LocalReplicate, tmp_path: Path, option: str, name: str, other: str
) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    rows = rows_in(folder, 1)
    whole = rows.read_bytes()
    given = {"--input": f"{rows}", "--output": f"{folder / 'out.jsonl'}"} | {
        option: f"{folder / name}"
    }
    flags = [part for pair in given.items() for part in pair]

    ran = await run("batch", "replicate/hello-world", "text=a", *flags, "--map", "text=words",
                    server=server)  # fmt: skip

    assert ran.code == 2
    assert option in ran.err
    assert other in ran.err
    assert rows.read_bytes() == whole
    assert await predictions(server) == []


async def test_a_folder_is_no_place_for_results(server: LocalReplicate, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.mkdir()

    ran = await run("batch", "replicate/hello-world", "-i", f"{rows_in(tmp_path, 1)}", "-o",
                    f"{out}", "--map", "text=words", server=server)  # fmt: skip

    assert ran.code == 2
    assert f"{out} is a folder" in ran.err
    assert await predictions(server) == []


async def test_a_dry_run_creates_nothing(server: LocalReplicate, tmp_path: Path) -> None:
    rows, out = rows_in(tmp_path, 3), tmp_path / "out.jsonl"

    ran = await run("batch", "replicate/hello-world", "-i", f"{rows}", "-o", f"{out}",
                    "--map", "text=words", "--dry-run", "--json", server=server)  # fmt: skip

    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["planned"] == 3
    assert not out.exists()
    assert await predictions(server) == []
