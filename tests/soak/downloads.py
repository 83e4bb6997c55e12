"""Downloads that are killed, each of which a second run must complete.

    python tests/soak/downloads.py [kills]

A server in this process sends a file of 60 MB. A program saves it, and is killed (SIGKILL) after a
random number of bytes, up to five times in a row before it may finish; then the next file begins.
Prints a JSON line with how many kills there were, how many resumes, how many final files were short
or differed, and what was left over; fails if any was.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from aiohttp import web

SIZE: Final = 60_000_000
CONTENT: Final = random.Random(1).randbytes(SIZE)
DIGEST: Final = hashlib.sha256(CONTENT).hexdigest()
PROGRAM: Final = """
import asyncio, sys
from replicate_async import FileOutput, Replicate
async def main():
    url, folder = sys.argv[1:]
    async with Replicate("r8_x", base_url=url.rpartition("/")[0] + "/v1") as client:
        await FileOutput(url).with_client(client).save(folder + "/out.bin", overwrite=True)
asyncio.run(main())
"""
RNG: Final = random.Random(20_261_124)
MOST_IN_A_ROW: Final = 5


class Host:
    """Sends the file, and tells when a number of bytes of it was taken."""

    def __init__(self) -> None:
        self.resumes = 0
        self.limit = SIZE
        self.reached = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        span = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(span[1]) if span else 0
        self.resumes += bool(start)
        headers = {"ETag": '"v1"', "Content-Length": str(SIZE - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{SIZE - 1}/{SIZE}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        try:
            await response.prepare(request)
            for at in range(start, SIZE, 256 * 1024):
                await response.write(CONTENT[at : at + 256 * 1024])
                if at - start > self.limit:
                    self.reached.set()
        except ConnectionError:
            pass
        return response


async def save(host: Host, url: str, folder: Path, *, killed_after: int | None) -> bool:
    """Run the program; returns whether it was killed before it had finished."""
    host.reached.clear()
    host.limit = SIZE if killed_after is None else killed_after
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, url, str(folder))
    ended = asyncio.create_task(process.wait())
    reached = asyncio.create_task(host.reached.wait())
    await asyncio.wait({ended, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    if ended.done():
        assert ended.result() == 0
        return False
    process.kill()
    await ended
    return True


def left_in(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def main(kills: int) -> int:
    """Kill that many downloads."""
    host = Host()
    app = web.Application()
    app.router.add_get("/out.bin", host)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/out.bin"
    done, files, wrong, left = 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        final = folder / "out.bin"
        while done < kills:
            for _ in range(RNG.randint(1, MOST_IN_A_ROW)):
                if not await save(host, url, folder, killed_after=RNG.randrange(SIZE // 3)):
                    break
                done += 1
                # Killed while it was renamed, at worst: then it is whole.
                wrong += final.exists() and hashlib.sha256(final.read_bytes()).hexdigest() != DIGEST
            await save(host, url, folder, killed_after=None)
            files += 1
            wrong += hashlib.sha256(final.read_bytes()).hexdigest() != DIGEST
            final.unlink()
            left += left_in(folder)
    await runner.cleanup()
    result = {"kills": done, "files": files, "resumes": host.resumes, "wrong": wrong, "left": left}
    print(json.dumps(result))
    return 1 if wrong or left or not host.resumes else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)))
