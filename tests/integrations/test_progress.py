from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

from replicate_async import Replicate
from replicate_async.integrations.progress import ProgressBar

pytestmark = pytest.mark.anyio


async def test_a_bar_shows_how_far_a_batch_is_and_what_failed(client: Replicate) -> None:
    drawn = StringIO()
    inputs = [{"value": number} for number in range(7)]
    with ProgressBar("echo", file=drawn) as bar:
        async for _ in client.batch("local/echo", inputs, on_progress=bar):
            pass

    last = drawn.getvalue().rstrip().split("\r")[-1]
    assert last.startswith("echo: 100%")
    assert "7/7" in last
    assert "ok=7" in last
    assert "failed" not in last


async def test_a_bar_without_a_total_counts(client: Replicate) -> None:
    drawn = StringIO()
    inputs = ({"value": number} for number in range(3))
    with ProgressBar(file=drawn) as bar:
        async for _ in client.batch("local/fail", inputs, on_progress=bar):
            pass

    last = drawn.getvalue().rstrip().split("\r")[-1]
    assert last.startswith("3item")
    assert "failed=3" in last


CELL = """
from replicate_async import Replicate
from replicate_async.integrations.progress import ProgressBar
from replicate_async.local import LocalReplicate

inputs = ({"value": number} for number in range(3))
async with LocalReplicate() as server, Replicate(server.api_token, base_url=server.url) as client:
    with ProgressBar("echo <b>") as counted:
        async for _ in client.batch("local/echo", inputs, on_progress=counted):
            pass
    with ProgressBar("echo") as bar:
        async for _ in client.batch("local/fail", [{"value": 1}], on_progress=bar):
            pass
"""


def test_a_saved_notebook_shows_how_a_batch_ended() -> None:
    nbformat: Any = pytest.importorskip("nbformat", reason="the integrations session installs it")
    nbclient: Any = pytest.importorskip("nbclient", reason="the integrations session installs it")
    pytest.importorskip("ipykernel", reason="the integrations session installs it")
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "outputs": [],
        "source": CELL,
    }
    notebook = nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    )

    nbclient.NotebookClient(notebook, kernel_name="python3").execute()

    counted, bar = (output["data"] for output in notebook.cells[0].outputs)
    assert counted["text/plain"].startswith("echo <b>: 3, 3 ok in ")
    assert counted["text/html"].startswith("<div>echo &lt;b&gt;: 3, 3 ok in ")
    assert bar["text/plain"].startswith("echo: 1 of 1, 1 failed in ")
    assert bar["text/html"].startswith('<div><progress value="1" max="1"></progress> echo: 1 of 1')
