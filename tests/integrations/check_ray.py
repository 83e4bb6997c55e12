"""Checks of the recipe for Ray, `nox -s ray`, in which Ray is installed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.support.waiting import HANG

RECIPE: Final = Path(__file__).parents[2] / "docs" / "examples" / "ray_batch.py"

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[LocalReplicate]:
    async with LocalReplicate() as server:
        yield server


async def start(server: LocalReplicate, folder: Path, items: int) -> asyncio.subprocess.Process:
    """Start the recipe, in a group of processes of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(RECIPE), str(folder), str(items)),
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "REPLICATE_API_TOKEN": server.api_token,
            "REPLICATE_BASE_URL": server.url,
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        start_new_session=True,
    )


async def run(server: LocalReplicate, folder: Path, items: int) -> list[str]:
    """Run the recipe to its end; return the lines that it prints."""
    process = await start(server, folder, items)
    async with asyncio.timeout(3 * HANG):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().splitlines()


async def created(server: LocalReplicate) -> Counter[float]:
    """Return how often each input was created, by its place in the picture."""
    async with Replicate(server.api_token, base_url=server.url) as client:
        runs = [prediction async for prediction in client.predictions.list()]
    inputs = [run.input for run in runs if isinstance(run.input, dict)]
    return Counter(round(given["center_x"], 6) for given in inputs)


def written(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.png")
    }


async def test_the_recipe_writes_its_output_once_also_on_a_rerun(
    server: LocalReplicate, tmp_path: Path
) -> None:
    first = await run(server, tmp_path, 8)
    files = written(tmp_path)
    again = await run(server, tmp_path, 8)
    assert sorted(first) == sorted(f"x{x} {tmp_path}/x{x}.png" for x in range(8))
    assert sorted(again) == sorted(first)
    assert written(tmp_path) == files
    assert set((await created(server)).values()) == {1}


async def test_a_killed_driver_and_its_actors_create_nothing_twice(
    server: LocalReplicate, tmp_path: Path
) -> None:
    process = await start(server, tmp_path, 120)
    assert process.stdout is not None
    async with asyncio.timeout(3 * HANG):
        for _ in range(20):
            assert await process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    early = written(tmp_path)
    lines = await run(server, tmp_path, 120)
    assert len(lines) == 120
    assert [line for line in lines if not line.endswith(".png")] == []
    assert len(written(tmp_path)) == 120
    assert early.items() <= written(tmp_path).items()
    assert Counter((await created(server)).values()) == {1: 120}
