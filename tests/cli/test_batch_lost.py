"""``batch`` when its journal is deleted meanwhile, as a program."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import ended, environment, start

pytestmark = pytest.mark.anyio

CONCURRENCY = 3


def delete_journal(folder: Path) -> None:
    for path in folder.glob("out.jsonl.journal*"):
        path.unlink()


async def test_a_deleted_journal_ends_the_command_and_keeps_the_results(
    server: LocalReplicate, tmp_path: Path
) -> None:
    gate = asyncio.Event()

    async def wait(row: int) -> int:
        await gate.wait()
        return row

    server.add_model("acme/wait", wait)
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps({"row": row}) + "\n" for row in range(20)))
    command = ("batch", "acme/wait", "-i", f"{rows}", "-o", f"{out}", "--concurrency",
               f"{CONCURRENCY}")  # fmt: skip

    async with Replicate(server.api_token, base_url=server.url) as client:
        process = await start(*command, env=environment(server))
        while len([made async for made in client.predictions.list()]) < CONCURRENCY:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        delete_journal(tmp_path)
        gate.set()
        ran = await ended(process)
        made = [prediction.status async for prediction in client.predictions.list()]

    kept = [json.loads(line) for line in (tmp_path / "out.jsonl.part").read_text().splitlines()]
    assert ran.code == 1
    assert "out.jsonl.journal.lock was deleted or moved while it was in use" in ran.err
    assert f"Keep a copy of {out}.part" in ran.err
    assert made == ["succeeded"] * CONCURRENCY
    assert sorted(row["output"] for row in kept) == list(range(CONCURRENCY))
