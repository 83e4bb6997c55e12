"""``serve``, as a program, and called by another."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import ended, environment, run, start

pytestmark = pytest.mark.anyio

TOKEN = "r8_chosen-for-the-embedded-server-alone"


async def ready_lines(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readuntil(b"Then, in another terminal")).decode()


async def test_it_says_how_to_reach_it_and_stops_at_ctrl_c() -> None:
    process = await start("serve", "--port", "0", env=environment())
    said = await ready_lines(process)
    exported = dict(re.findall(r"^  export (\w+)=(\S+)$", said, re.MULTILINE))
    url, token = exported["REPLICATE_BASE_URL"], exported["REPLICATE_API_TOKEN"]
    assert said.startswith(f"Serving the Replicate API at {url}")

    async with Replicate(token, base_url=url) as client:
        output = await client.run("local/storyteller", {"prompt": "Once"}, type=str)
    process.send_signal(signal.SIGINT)
    ran = await ended(process)

    assert output
    assert (ran.code, ran.err) == (130, "stopped\n")


async def test_it_serves_functions_of_the_working_directory_and_shows_no_token_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(
        "def price_tag(euros: float) -> str:\n    return f'€{euros}'\n"
    )
    monkeypatch.chdir(tmp_path)
    models = ("--model", "shop:price_tag", "--model", "acme/tag=shop:price_tag")

    process = await start(
        "serve", "--port=0", *models, env=environment() | {"REPLICATE_LOCAL_TOKEN": TOKEN}
    )
    said = await ready_lines(process)
    match = re.search(r"http://\S+/v1", said)
    assert match is not None
    async with Replicate(TOKEN, base_url=match[0]) as client:
        outputs = [await client.run(m, {"euros": 2}) for m in ("dev/price-tag", "acme/tag")]
    process.send_signal(signal.SIGTERM)
    ran = await ended(process)

    assert outputs == ["€2.0", "€2.0"]
    assert "Your models: dev/price-tag, acme/tag\n" in said
    assert TOKEN not in said + ran.out + ran.err


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        pytest.param("shop", 2, 'error: --model shop: write "module:name"', id="no-name"),
        pytest.param("no_such:f", 1, "error: --model no_such:f: No module named", id="no-module"),
        pytest.param(
            "json:nope", 1, "error: --model json:nope: module 'json' has", id="no-function"
        ),
    ],
)
async def test_a_model_that_cannot_be_served_is_one_line(model: str, code: int, said: str) -> None:
    ran = await run("serve", "--port", "0", "--model", model)

    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


async def test_a_port_in_use_is_one_line(server: LocalReplicate) -> None:
    port = server.origin.rpartition(":")[2]

    ran = await run("serve", "--port", port)

    assert ran.code == 1
    assert ran.err.startswith(f"error: port {port} of 127.0.0.1 is in use")
