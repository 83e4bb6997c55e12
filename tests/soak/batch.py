"""Batches at full length: 10,000 items killed 200 times, with the list and without, and a million.

With `kills` or `memory` as its argument, that part alone.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.runs.batch.api import BatchAPI
from tests.runs.batch.kills import run_killed
from tests.support.replies import problem

MEMORY: Final = Path(__file__).parents[1] / "runs" / "batch" / "memory.py"


def main(parts: list[str]) -> int:
    """Print what was measured, and fail when anything was lost or created twice."""
    failed = 0
    if not parts or "kills" in parts:
        failed |= asyncio.run(killed(listed=True, items=10_000, kills=200))
        failed |= asyncio.run(killed(listed=False, items=10_000, kills=200))
    if not parts or "memory" in parts:
        failed |= million()
    return failed


async def killed(*, listed: bool, items: int, kills: int) -> int:
    """Kill a batch at counted events, with 1 % of the answers lost and 2 % of 429 and 503."""
    api = BatchAPI(seconds=0.01, listing=None if listed else lambda _: problem(500))
    with tempfile.TemporaryDirectory() as folder:
        outcome = await run_killed(
            api,
            Path(folder),
            items=items,
            kills=kills,
            every=items // (kills + 5),
            concurrency=64 if listed else 16,
        )
    lost = set(range(items)) - outcome.results.keys() - outcome.uncertain
    wrong = [number for number, output in outcome.results.items() if output != {"n": number}]
    twice = api.twice()
    measured = {
        "soak": "batch",
        "list": "usable" if listed else "unusable",
        "items": items,
        "kills": outcome.kills,
        "seconds": round(outcome.seconds, 1),
        "lost": len(lost),
        "created_twice": len(twice),
        "uncertain": len(outcome.uncertain),
        "wrong": len(wrong),
        "failed": len(outcome.failed),
        "creates_asked": api.creates,
        "requests": sum(api.requests[kind] for kind in ("create", "GET predictions")),
    }
    print(json.dumps(measured), flush=True)
    bad = lost or twice or wrong or outcome.failed or (listed and outcome.uncertain)
    return 1 if bad or outcome.kills < kills else 0


def million() -> int:
    """Let a million items pass through, without a journal and with one."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for journal in ([], [f"{folder}/batch.db"]):
            command = [sys.executable, str(MEMORY), "1000000", *journal]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured = json.loads(said)
            kind = {"soak": "batch", "journal": bool(journal)}
            print(json.dumps({**kind, **measured}), flush=True)
            allowed = 65_536 if journal else 16_384  # the journal's keys take 16 to 32 bytes each
            failed |= int(measured["grown_kb"] > allowed)
    return failed


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    sys.exit(main(sys.argv[1:]))
