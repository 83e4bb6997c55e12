"""``batch --match key``, as a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import run

pytestmark = pytest.mark.anyio


async def test_match_key_identifies_rows_by_their_key_alone(
    server: LocalReplicate, tmp_path: Path
) -> None:
    def show(id: str, image: str) -> str:
        return f"{id} {image}"

    server.add_model("acme/show", show)
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    command = ("batch", "acme/show", "-i", f"{rows}", "-o", f"{out}", "--key", "id")

    for signature, match, code in (
        ("one", "input", 0),
        ("two", "input", 1),
        ("two", "key", 0),
    ):
        image = f"https://bucket.example/a.png?signature={signature}"
        rows.write_text(json.dumps({"id": "a", "image": image}) + "\n")
        ran = await run(*command, "--match", match, server=server)
        assert ran.code == code, ran.err
        assert ('use match="key"' in ran.err) is (code == 1)

    assert json.loads(out.read_text())["output"].endswith("signature=one")
    async with Replicate(server.api_token, base_url=server.url) as client:
        assert len([made async for made in client.predictions.list()]) == 1


async def test_match_key_needs_a_key(server: LocalReplicate, tmp_path: Path) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text('{"value": 1}\n')

    ran = await run("batch", "local/echo", "-i", f"{rows}", "-o", f"{tmp_path / 'out.jsonl'}",
                    "--match", "key", server=server)  # fmt: skip

    assert ran.code == 2
    assert 'match="key" needs key=' in ran.err
