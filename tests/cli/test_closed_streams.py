"""The program whose standard streams are closed, or are not read any more."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from replicate_async.local import LocalReplicate
from tests.cli.program import Ran, ended, environment, start
from tests.cli.test_batch import predictions, results_in, rows_in, until_running

pytestmark = pytest.mark.anyio

PROGRAM = (sys.executable, "-m", "replicate_async")


async def run_without(closed: str, *arguments: str, server: LocalReplicate) -> Ran:
    """Run the program in a shell that closes streams, such as ``>&-``."""
    program = ("-c", "import os, sys; os.execvp('sh', ['sh', '-c', *sys.argv[1:]])")
    script = f'exec "$0" "$@" {closed}'
    shell = await start(script, *PROGRAM, *arguments, program=program, env=environment(server))
    return await ended(shell)


HELLO = ("run", "replicate/hello-world", "text=Ann")


@pytest.mark.parametrize(
    ("closed", "code", "out", "err"),
    [
        (">&-", 1, "", "error: Bad file descriptor\n"),
        ("2>&-", 0, "hello Ann\n", ""),
        ("<&-", 0, "hello Ann\n", ""),
        (">&- 2>&-", 1, "", ""),
    ],
)
async def test_output_that_cannot_be_written_is_an_error(
    server: LocalReplicate, closed: str, code: int, out: str, err: str
) -> None:
    assert await run_without(closed, *HELLO, server=server) == (code, out, err)


@pytest.mark.parametrize("arguments", [("--help",), ("models", "list"), HELLO, (*HELLO, "--json")])
async def test_a_full_device_is_an_error_of_every_command(
    server: LocalReplicate, arguments: tuple[str, ...]
) -> None:
    ran = await run_without(">/dev/full", *arguments, server=server)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("error: No space left on device\n")


async def test_a_batch_without_streams_writes_its_results(
    server: LocalReplicate, tmp_path: Path
) -> None:
    command = ("batch", "replicate/hello-world", "--map", "text=words")
    files = ("-i", f"{rows_in(tmp_path, 3)}", "-o", f"{tmp_path / 'out.jsonl'}")

    ran = await run_without("<&- >&- 2>&-", *command, *files, server=server)

    assert ran == (0, "", "")
    assert len(results_in(tmp_path / "out.jsonl")) == 3


async def test_rows_of_a_closed_standard_input_are_an_error(
    server: LocalReplicate, tmp_path: Path
) -> None:
    command = ("batch", "replicate/hello-world", "-i", "-", "-o", f"{tmp_path / 'out.jsonl'}")

    ran = await run_without("<&-", *command, server=server)

    assert ran == (1, "", "error: Bad file descriptor\n")
    assert await predictions(server) == []


async def test_a_second_ctrl_c_ends_a_command_whose_messages_are_not_read(
    server: LocalReplicate, tmp_path: Path
) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text(json.dumps({"seconds": 600}))
    reader, unread = os.pipe()
    os.close(reader)
    process = await start("batch", "local/slow", "-i", f"{rows}", "-o", f"{tmp_path / 'out.jsonl'}",
                          env=environment(server), stderr=unread)  # fmt: skip
    await until_running(server, 1)

    async with asyncio.timeout(60):
        while process.returncode is None:  # signals that come at once are one signal
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)

    assert process.returncode == 130
