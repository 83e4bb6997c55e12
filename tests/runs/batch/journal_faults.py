"""Have the disk fail at the k-th write or sync of a journal, and look for what was promised.

    python -m tests.runs.batch.journal_faults [LAST]

Prints a JSON line, and fails if anything was lost, or answered with anything else than an error of
the journal. The faults are injected by strace.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Final

from tests.runs.batch.journal_program import lost, write
from tests.support.unmeasured import unmeasured

STRACE: Final = shutil.which("strace")
ITEMS: Final = 60
FAULTS: Final = {
    "EIO at one sync": ("fdatasync,fsync", "EIO", ""),
    "EIO at one write": ("pwrite64", "EIO", ""),
    "a full disk": ("pwrite64,fallocate", "ENOSPC", "+"),
    "EIO from one sync on": ("fdatasync,fsync", "EIO", "+"),
    "a log that cannot be cut": ("ftruncate", "EIO", ""),
}


def faulted(path: Path, fault: str, at: int) -> tuple[int, list[str]]:
    """Run the program, have *fault* happen to call number *at*; return its status and its lines."""
    calls, error, onwards = FAULTS[fault]
    inject = f"inject={calls}:error={error}:when={at}{onwards}"
    return program(path, [str(STRACE), "-f", "-qq", "-o", "/dev/null", "-e", inject])


def program(path: Path, before: list[str], *more: str) -> tuple[int, list[str]]:
    """Run the program with its own last words; return its status and its lines."""
    command = [*before, sys.executable, "-m", "tests.runs.batch.journal_program", str(path)]
    # What measures coverage would write its data where writing fails, and complain.
    done = subprocess.run(
        [*command, str(ITEMS), *more],
        capture_output=True,
        text=True,
        check=False,
        env=unmeasured(),
    )
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def wrong(path: Path, status: int, lines: list[str]) -> list[str]:
    """Return what is wrong with a journal whose writer ended so, and bring it to its end."""
    said = [line for line in lines if line != "end" and not line.startswith("error ")]
    errors = [line for line in lines if line.startswith("error ")]
    faults = [line for line in errors if not line.startswith("error JournalWriteError: ")]
    if (status, bool(errors)) not in {(0, False), (3, True)}:
        faults.append(f"it ended with {status}: {lines[-5:]}")
    if not path.exists():
        faults += said
    elif status == 0 or said:
        faults += lost(path, said)
    asyncio.run(write(path, ITEMS, said.append))
    return faults + lost(path, [line for line in said if line != "end"])


def run(folder: Path, last: int) -> dict[str, object]:
    """Try every fault at the calls up to *last*, or until the program makes fewer."""
    began = monotonic()
    faults: list[str] = []
    tried = hit = 0
    for fault in FAULTS:
        for at in range(1, last + 1):
            path = folder / f"{tried}.db"
            status, lines = faulted(path, fault, at)
            faults += [f"{fault} at {at}: {found}" for found in wrong(path, status, lines)]
            tried += 1
            hit += status == 3
            if status == 0 and at > 60:
                break
    seconds = round(monotonic() - began, 1)
    return {"tried": tried, "hit": hit, "wrong": len(faults), "first": faults[:3], "s": seconds}


def main(last: str = "200") -> int:
    """Print what came of it; the status tells whether anything was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), int(last))
    print(json.dumps(outcome))
    return int(bool(outcome["wrong"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
