"""Kill a writer of journals at counted acknowledgements, and look for the acknowledged changes.

    python -m tests.runs.batch.journal_kills [KILLS]

Prints a JSON line, and fails if anything was lost. Each writer is forked from this process, which
has loaded everything, so that a kill costs little more than the writing before it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from random import Random
from time import monotonic

from tests.runs.batch.journal_program import lost, write

ITEMS = 200


def killed_writer(path: Path, after: int) -> tuple[list[str], bool]:
    """Run a writer, kill it *after* so many lines, and return all that it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(write(path, ITEMS, lambda line: os.write(writing, f"{line}\n".encode())))
        os._exit(0)
    os.close(writing)
    said = b""
    killed = False
    while some := os.read(reading, 4096 if killed else 64):
        said += some
        if not killed and said.count(b"\n") >= after:
            os.kill(child, signal.SIGKILL)
            killed = True
    os.close(reading)
    os.waitpid(child, 0)
    lines = said.decode().splitlines()
    return [line for line in lines if line != "end"], "end" in lines


def run(folder: Path, kills: int, rng: Random) -> dict[str, object]:
    """Kill *kills* writers; a journal goes on from kill to kill until it is complete."""
    began = monotonic()
    faults: list[str] = []
    said: list[str] = []
    journals = killed = acknowledged = 0
    while killed < kills:
        path = folder / f"{journals}.db"
        more, ended = killed_writer(path, rng.randrange(1, 3 * ITEMS))
        said += more
        acknowledged += len(more)
        faults += lost(path, said) if path.exists() else said
        killed += not ended
        if ended:
            journals += 1
            said.clear()
    return {
        "kills": killed,
        "journals": journals,
        "acknowledged": acknowledged,
        "lost": len(faults),
        "first": faults[:3],
        "seconds": round(monotonic() - began, 1),
    }


def main(kills: str = "1000", seed: str = "1") -> int:
    """Print the result; the exit status tells whether anything was lost."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), int(kills), Random(seed))
    print(json.dumps(outcome))
    return int(bool(outcome["lost"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
