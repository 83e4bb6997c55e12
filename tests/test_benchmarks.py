"""The benchmarks run; their figures are not looked at here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.clients.ours import Client
from benchmarks.server import Server

MANY = {"streams", "memory"}
"""Cases that open a thousand streams."""


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(CASES.keys() - MANY))
async def test_our_client_does_the_work_of_a_case(name: str) -> None:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{server.port}"
        units = 1 if name in {"upload", "download"} else 100
        client = Client(url)
        async with client.client:
            assert await CASES[name].measure(client, url, units) > 0


@pytest.mark.slow
def test_a_round_adds_a_row_to_the_table(tmp_path: Path) -> None:
    pytest.importorskip("pyperf", reason="the integrations session installs it")
    from benchmarks import __main__ as command

    results = tmp_path / "results.json"
    with command.load_server() as url:
        for name in ("replicate_async", "with uvloop"):
            assert command.measure(name, "get", url, results, quick=True)
    rows = command.table(results).splitlines()
    assert rows[2].startswith(f"| {CASES['get'].title} | ")
    assert " x) |" in rows[2]
    assert len(rows) == 3
