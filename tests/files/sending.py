"""Sends a large file from a process of its own, and measures its memory.

``python -m tests.files.sending URL PATH`` is that process: it uploads the file in every way there
is, and prints, for each, by how many kilobytes its memory grew at most and for how many
milliseconds its event loop was held at most.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web

from replicate_async import File, Replicate, Retry
from tests.support.replies import file

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = os.urandom(1_000_000)


class Measured(NamedTuple):
    arrived: int
    """Bytes that the server got."""
    grown: int
    """Kilobytes of memory that the client took at most."""
    held: float
    """Milliseconds for which its event loop did nothing else, at most."""


async def measure(path: Path, size: int) -> dict[str, Measured]:
    """Write a file of *size* bytes to *path*, and have it sent in every way."""
    await asyncio.to_thread(_write, path, size)
    arrived: list[int] = []

    async def sink(request: web.Request) -> web.Response:
        count = 0
        async for chunk in request.content.iter_any():
            count += len(chunk)
        arrived.append(count)
        return web.json_response(file("http://127.0.0.1/v1"), status=201)

    app = web.Application()
    app.router.add_post("/v1/files", sink)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.files.sending",
            f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
            str(path),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    finally:
        await runner.cleanup()
    assert process.returncode == 0
    found: dict[str, list[float]] = json.loads(printed)
    # The first is the warm-up.
    return {
        kind: Measured(count, int(grown), held)
        for (kind, (grown, held)), count in zip(found.items(), arrived[1:], strict=True)
    }


def _write(path: Path, size: int) -> None:
    with path.open("wb") as target:
        for start in range(0, size, len(BLOCK)):
            target.write(BLOCK[: size - start])


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as source:
        while piece := await asyncio.to_thread(source.read, 300_000):
            yield piece


async def _measured(send: Callable[[], Awaitable[File]]) -> tuple[int, float]:
    gap = 0.0

    async def watch() -> None:
        nonlocal gap
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gap, last = max(gap, now - last), now

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watching = asyncio.create_task(watch())
    await send()
    watching.cancel()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return grown, gap * 1000


async def main(url: str, path: Path) -> None:
    """Send the file at *path* to *url*, and print the costs."""
    found: dict[str, tuple[int, float]] = {}
    async with Replicate("r8_" + "x" * 37, base_url=url, retry=Retry(attempts=1)) as client:
        await client.files.create(bytes(2_000_000), filename="warm.bin")
        files = client.files
        with path.open("rb") as opened:
            found["path"] = await _measured(lambda: files.create(path, max_size=None))
            found["open file"] = await _measured(lambda: files.create(opened, max_size=None))
            found["iterator"] = await _measured(lambda: files.create(_pieces(path), max_size=None))
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
