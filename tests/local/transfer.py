"""A large file through an embedded server in a process of its own, and the memory that it takes.

``python -m tests.local.transfer`` is that process: it prints its URL and token, then answers each
line on stdin with the kilobytes that it has, the most that it had since the line "begin", and the
milliseconds for which its event loop was held at most.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from replicate_async.local import InputFile, LocalReplicate, Settings

ROOT = Path(__file__).parents[2]
BLOCK = bytes(range(256)) * 256


class Measured(NamedTuple):
    same: bool
    """Whether the answer has the bytes that were sent."""
    grown: int
    """Kilobytes of memory that the server took at most."""
    held: int
    """Milliseconds for which its event loop did nothing else, at most."""


async def transfer(size: int) -> Measured:
    """Upload a file of *size* bytes, run a model on it that gives it back, and download that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.local.transfer",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def told(word: bytes) -> list[int]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(word + b"\n")
        return [int(part) for part in (await process.stdout.readline()).split()]

    try:
        url, token = (await process.stdout.readline()).decode().split()
        await _round(url, token, len(BLOCK))  # so that everything is imported
        before = (await told(b"begin"))[0]
        same = await _round(url, token, size)
        _, most, held = await told(b"end")
    finally:
        process.stdin.close()
        await process.wait()
    return Measured(same, most - before, held)


async def _round(url: str, token: str, size: int) -> bool:
    sent = hashlib.sha256()
    head = b'--x\r\nContent-Disposition: form-data; name="content"; filename="x.bin"\r\n\r\n'
    tail = b"\r\n--x--\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x"
    reader, writer = await _ask("POST", f"{url}/files", token, len(head) + size + len(tail), kind)
    writer.write(head)
    left = size
    while left:
        block = BLOCK[:left]
        sent.update(block)
        writer.write(block)
        await writer.drain()
        left -= len(block)
    writer.write(tail)
    file = msgspec.json.decode(await _body(reader, writer))
    body = msgspec.json.encode({"input": {"file": file["urls"]["get"]}})
    kind = "Content-Type: application/json\r\nPrefer: wait=60"
    path = f"{url}/models/local/copy/predictions"
    reader, writer = await _ask("POST", path, token, len(body), kind)
    writer.write(body)
    prediction = msgspec.json.decode(await _body(reader, writer))
    assert prediction["status"] == "succeeded", prediction
    reader, writer = await _ask("GET", prediction["output"], token, 0, "Connection: close")
    await reader.readuntil(b"\r\n\r\n")
    received = hashlib.sha256()
    while block := await reader.read(256 * 1024):
        received.update(block)
    writer.close()
    return received.digest() == sent.digest() and file["checksums"]["sha256"] == sent.hexdigest()


async def _ask(
    method: str, url: str, token: str, length: int, more: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n{more}\r\n\r\n"
    )
    writer.write(head.encode())
    return reader, writer


async def _body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None, head
    body = await reader.readexactly(int(length[1]))
    writer.close()
    return body


def copy(file: InputFile) -> InputFile:
    return file


class Held:
    """For how long the event loop did nothing else, at most."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, loop.time() - before - 0.005)


def _memory() -> tuple[int, int]:
    status = Path("/proc/self/status").read_text()
    found = dict(re.findall(r"^Vm(RSS|HWM):\s+(\d+) kB$", status, re.MULTILINE))
    return int(found["RSS"]), int(found["HWM"])


async def main() -> None:
    settings = Settings(max_file=1_000_000_000)
    server = LocalReplicate(settings=settings, builtins=False)
    server.add_model("local/copy", copy, official=True)
    async with server:
        print(server.url, server.api_token, flush=True)
        held = Held()
        watching = asyncio.create_task(held.watch())
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line == "begin\n":
                held.longest = 0.0
                await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5")
            print(*_memory(), round(held.longest * 1000), flush=True)
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
