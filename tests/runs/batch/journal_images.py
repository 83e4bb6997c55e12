"""What a loss of power may leave of a journal, at any moment, and whether that is enough.

    python -m tests.runs.batch.journal_images [IMAGES]

Runs the program once under strace, which tells every write and sync. An image has of each file
what was synced by some moment, and any of what was written since, whole or torn. Everything that
was acknowledged by then must be in it. Prints a JSON line, and fails if something is not, or if the
image is taken for a damaged one.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

from replicate_async.errors import JournalError
from replicate_async.runs.batch.journal import Journal
from tests.runs.batch.journal_faults import STRACE, program
from tests.runs.batch.journal_program import HEADER, lost

CALLS: Final = "openat,pwrite64,write,fdatasync,fsync,ftruncate,rename,unlink"
SECTOR: Final = 512

_LINE: Final = re.compile(r"(\d+) +(.*)")
_STRING: Final = r'("(?:[^"\\]|\\.)*")'
_WRITE: Final = re.compile(rf"pwrite64\(\d+<([^>]*)>, {_STRING}, \d+, (\d+)\) += \d+")
_CUT: Final = re.compile(r"ftruncate\(\d+<([^>]*)>, (\d+)\) += 0")
_SYNC: Final = re.compile(r"f(?:data)?sync\(\d+<([^>]*)>\) += 0")
_OPEN: Final = re.compile(rf"openat\([^,]*, {_STRING}, ([A-Z_|]*)[^)]*\) += \d+")
_RENAME: Final = re.compile(rf"rename\({_STRING}, {_STRING}\) += 0")
_UNLINK: Final = re.compile(rf"unlink\({_STRING}\) += 0")
_SAID: Final = re.compile(rf"write\(1<[^>]*>, {_STRING}")


@dataclass
class Write:
    """Something done to a file that was not synced since; without data, the file is cut there."""

    at: int
    data: bytes | None

    def on(self, content: bytearray, size: int | None = None) -> None:
        if self.data is None:
            del content[self.at :]
            return
        data = self.data[:size]
        content.extend(bytes(max(0, self.at - len(content))))
        content[self.at : self.at + len(data)] = data


@dataclass
class File:
    """What a file has for certain, and perhaps."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list[Write])

    def sync(self) -> None:
        for write in self.pending:
            write.on(self.synced)
        self.pending.clear()

    def image(self, rng: Random, odds: float) -> bytes:
        content = bytearray(self.synced)
        for write in self.pending:
            if rng.random() < odds:
                torn = rng.random() < 0.2 and write.data is not None
                sectors = len(write.data or b"") // SECTOR
                write.on(content, rng.randint(0, sectors) * SECTOR if torn else None)
        return bytes(content)


class Disk:
    """The folder of a journal, as the calls change it."""

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder}/"
        self.files: dict[str, File] = {}
        self.said: list[str] = []

    def call(self, line: str) -> None:
        if found := _SAID.match(line):
            self.said += text(found[1]).decode().splitlines()
        elif (found := _WRITE.match(line)) and found[1] in self.files:
            self.files[found[1]].pending.append(Write(int(found[3]), text(found[2])))
        elif (found := _CUT.match(line)) and found[1] in self.files:
            self.files[found[1]].pending.append(Write(int(found[2]), None))
        elif (found := _SYNC.match(line)) and found[1] in self.files:
            self.files[found[1]].sync()
        elif found := _OPEN.match(line):
            name = text(found[1]).decode()
            if "O_CREAT" in found[2] and name.startswith(self._folder):
                self.files.setdefault(name, File())
        elif found := _RENAME.match(line):
            self.files[text(found[2]).decode()] = self.files.pop(text(found[1]).decode())
        elif found := _UNLINK.match(line):
            self.files.pop(text(found[1]).decode(), None)

    def write_image(self, folder: Path, rng: Random) -> None:
        odds = rng.choice((0.0, 0.3, 0.7, 1.0))
        for name, file in self.files.items():
            if not name.endswith(("-shm", ".lock")):  # which no one reads after a start
                (folder / Path(name).name).write_bytes(file.image(rng, odds))


def text(literal: str) -> bytes:
    """Return the bytes of a C string that strace wrote."""
    return bytes(ast.literal_eval(f"b{literal}"))


def calls(log: Path) -> Iterator[str]:
    """Yield the calls in the order in which they returned; a print counts at once."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            process, call = found.groups()
            if call.endswith(" <unfinished ...>"):
                begun[process] = call.removesuffix(" <unfinished ...>")
                if _SAID.match(call):
                    yield begun.pop(process)
            elif call.startswith("<... "):
                yield begun.pop(process, "") + call.partition(" resumed>")[2]
            else:
                yield call


def opens(path: Path) -> list[str]:
    """Open the journal of an image as a resume would; return why that cannot be."""

    async def resume() -> None:
        async with await Journal.open(path, HEADER) as journal:
            await journal.plan([])

    try:
        asyncio.run(resume())
    except JournalError as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def run(folder: Path, images: int, rng: Random) -> dict[str, object]:
    """Look at *images* moments of one run."""
    began = monotonic()
    path, log = folder / "run.db", folder / "strace.log"
    traced = [str(STRACE), "-f", "-qq", "-y", "-x", "-s", "1000000", "-o", str(log)]
    status, lines = program(path, [*traced, "-e", f"trace={CALLS}"])
    if status:
        raise RuntimeError("\n".join(lines))
    every = [call for call in calls(log) if call]
    moments = sorted(rng.choices(range(len(every)), k=images))
    faults: list[str] = []
    disk, at, unsynced = Disk(folder), 0, 0
    for moment in moments:
        for call in every[at:moment]:
            disk.call(call)
        at = moment
        unsynced += any(file.pending for file in disk.files.values())
        with tempfile.TemporaryDirectory() as image:
            disk.write_image(Path(image), rng)
            there = Path(image) / path.name
            said = [line for line in disk.said if line != "end"]
            found = opens(there) if there.exists() else []
            found += lost(there, said) if there.exists() else said
        faults += [f"at call {moment}: {fault}" for fault in found]
    return {
        "images": images,
        "unsynced": unsynced,
        "calls": len(every),
        "syncs": sum(bool(_SYNC.match(call)) for call in every),
        "acknowledged": len(disk.said),
        "wrong": len(faults),
        "first": faults[:3],
        "seconds": round(monotonic() - began, 1),
    }


def main(images: str = "500", seed: str = "1") -> int:
    """Print the result; the exit status tells whether anything was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), int(images), Random(seed))
    print(json.dumps(outcome))
    return int(bool(outcome["wrong"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
