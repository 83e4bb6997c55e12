"""What the program draws where there is a terminal."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from replicate_async import Replicate
from replicate_async.local import ConcatenateIterator, LocalReplicate
from replicate_async.local.builtins.progress import Progress
from tests.cli.program import Terminal, run

pytestmark = pytest.mark.anyio

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


async def test_a_table_has_a_header_and_colours_and_cuts_only_its_last_column(
    server: LocalReplicate,
) -> None:
    async with Replicate(server.api_token, base_url=server.url) as client:
        done = await client.predictions.create("acme/spell", {"word": "x"})
        await client.predictions.wait(done)
        failed = await client.predictions.create("local/fail", {})
        await client.predictions.wait(failed)
    terminal = await Terminal.start("predictions", "list", server=server, columns=70)

    assert await terminal.ended() == 0
    rows = [line.split() for line in terminal.text.splitlines()]
    assert rows[0] == ["id", "model", "status", "created"]
    assert [row[:3] for row in rows[1:]] == [
        [failed.id, "local/fail", "failed"],
        [done.id, "acme/spell", "succeeded"],
    ]
    assert b"\x1b[32msucceeded" in terminal.raw
    assert b"\x1b[31mfailed" in terminal.raw
    assert max(map(len, terminal.text.splitlines())) <= 70


async def test_json_is_indented(server: LocalReplicate) -> None:
    terminal = await Terminal.start("models", "get", "acme/spell", "--json", server=server)

    assert await terminal.ended() == 0
    assert terminal.text.startswith('{\n  "owner": "acme",\n')
    assert json.loads(terminal.text)["name"] == "spell"


async def test_a_line_shows_the_progress_of_a_run_and_is_removed(server: LocalReplicate) -> None:
    shown = asyncio.Event()

    @server.model("acme/steps", official=True)
    async def steps() -> str:
        Progress(4).advance()
        await shown.wait()
        return "done"

    terminal = await Terminal.start("run", "acme/steps", "--logs", server=server)
    await terminal.until("acme/steps · processing")
    await terminal.until(" 25%|")
    shown.set()

    assert await terminal.ended() == 0
    assert terminal.text.splitlines()[-2] == "done"
    assert terminal.raw.rfind(SHOW_CURSOR) > terminal.raw.rfind(HIDE_CURSOR) >= 0


async def test_messages_are_wrapped_between_words(server: LocalReplicate) -> None:
    terminal = await Terminal.start("run", "acme/shapes", "nmae=x", server=server, columns=50)
    code = await terminal.ended()
    piped = await run("run", "acme/shapes", "nmae=x", server=server)

    assert code == piped.code == 2
    assert max(map(len, terminal.text.splitlines())) <= 50
    said = terminal.text[terminal.text.index("error: ") :]
    assert said.split() == piped.err.split()


async def test_a_line_of_progress_fits_the_terminal(server: LocalReplicate, tmp_path: Path) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(f'{{"seconds": {at / 100}}}\n' for at in range(9)))
    command = ("batch", "local/slow", "-i", str(rows), "-o", str(tmp_path / "out.jsonl"))
    terminal = await Terminal.start(*command, "--limit", "9", server=server, columns=50)

    assert await terminal.ended() == 0
    bars = [line for line in re.split(r"[\r\n]", terminal.text) if "\u2501" in line]
    assert "starting" in bars[0]
    assert all(len(bar) <= 50 for bar in bars)
    assert all(re.match(r" *\d+% ", bar) for bar in bars if " ok" in bar)


async def test_ctrl_c_gives_the_terminal_back(server: LocalReplicate) -> None:
    terminal = await Terminal.start("run", "local/slow", "seconds=60", server=server)
    await terminal.until("processing")
    terminal.process.send_signal(signal.SIGINT)

    assert await terminal.ended() == 130
    canceled, usage = terminal.text.splitlines()[-2:]
    assert "canceled prediction " in canceled
    assert usage.endswith("predict seconds")
    assert terminal.raw.rfind(SHOW_CURSOR) > terminal.raw.rfind(HIDE_CURSOR) >= 0


async def test_a_models_text_does_not_move_the_cursor(server: LocalReplicate) -> None:
    @server.model("acme/rude", official=True)
    def rude() -> ConcatenateIterator[str]:
        yield "one\x1b[2J\x1b]0;title\x07"
        yield "\x9btwo\ttab\n"

    terminal = await Terminal.start("stream", "acme/rude", server=server)

    assert await terminal.ended() == 0
    drawn = terminal.raw.rpartition(b"\x1b[2K")[2]
    assert drawn.decode().startswith("one[2J]0;titletwo\ttab\r\n")
