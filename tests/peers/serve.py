"""An embedded server in a process of its own, for clients that know nothing of it.

It prints one line of JSON that says where it is, answers ``sign FILE_ID`` with the query of a
download, and stops when its standard input ends: it cannot outlive its parent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated

from replicate_async.local import (
    AsyncConcatenateIterator,
    InputFile,
    LocalReplicate,
    OutputFile,
    Settings,
)

_DAY = 24 * 3600


async def count(to: int = 3, delay_ms: int = 20) -> AsyncConcatenateIterator[str]:
    """Count aloud."""
    for number in range(1, to + 1):
        await asyncio.sleep(delay_ms / 1000)
        yield f"{number} "


async def numbers(to: int = 3) -> AsyncIterator[int]:
    """Count silently: pieces that are not text."""
    for number in range(1, to + 1):
        yield number


def upper(file: InputFile) -> OutputFile:
    """Return a text file in capitals."""
    return OutputFile(file.data.upper(), "upper.txt", "text/plain")


def area(width: int, height: Annotated[int, "in the same unit"] = 2) -> dict[str, int]:
    """Return an object."""
    return {"area": width * height}


async def main() -> None:
    server = LocalReplicate(settings=Settings(page_size=5))
    server.add_model("acme/count", count, official=True, readme="# Counts\n")
    server.add_model("acme/numbers", numbers, examples=[{"to": 2}])
    server.add_model("acme/upper", upper, official=True)
    server.add_model("acme/area", area)
    server.add_collection("sums", ["acme/count", "acme/area"], description="Models that count")
    async with server:
        ready = {"origin": server.origin, "url": server.url, "token": server.api_token}
        print(json.dumps(ready), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            _, file_id = line.split()
            expiry = int(time.time()) + _DAY
            print(json.dumps(server.sign_download(file_id, expiry=expiry)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
