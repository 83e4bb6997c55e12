from __future__ import annotations

from io import StringIO

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
