"""Batches at full length: 10,000 items killed 200 times, in five ways, and a million items.

With `kills`, `limiter` or `memory` as its argument, that part alone. With two numbers after
`kills`, so many items and kills.

The five ways: the list is usable; it is not; clocks are wrong by up to 20 minutes; the list shows
inputs otherwise than they were sent, too; and ``prepare`` makes another input at each call. Behind
a limiter of 6 creates a minute, which others share, there are 300 items and no kills, in virtual
time.
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

from tests.runs.batch.api import BatchAPI, item
from tests.runs.batch.kills import altered, run_killed
from tests.support.replies import problem

PROGRAMS: Final = Path(__file__).parents[1] / "runs" / "batch"
MEMORY: Final = PROGRAMS / "memory.py"
LIMITED: Final = PROGRAMS / "limited.py"
WAYS: Final = ("usable list", "unusable list", "wrong clocks", "altered list", "prepared inputs")


def main(parts: list[str]) -> int:
    """Print the figures, and fail when anything was lost or created twice."""
    failed = 0
    numbers = [int(part) for part in parts if part.isdecimal()]
    items, kills = numbers or (10_000, 200)
    if not parts or "kills" in parts:
        for way in WAYS:
            failed |= asyncio.run(killed(way, items=items, kills=kills))
    if not parts or "limiter" in parts:
        failed |= limited()
    if not parts or "memory" in parts:
        failed |= million()
    return failed


async def killed(way: str, *, items: int, kills: int) -> int:
    """Kill a batch at counted events, with 1 % of the answers lost and 2 % of 429 and 503."""
    listed, prepared = way != "unusable list", way == "prepared inputs"
    api = BatchAPI(seconds=0.01, listing=None if listed else lambda _: problem(500))
    api.altered = altered if way == "altered list" else None
    with tempfile.TemporaryDirectory() as folder:
        outcome = await run_killed(
            api,
            Path(folder),
            items=items,
            kills=kills,
            every=items // (kills + 5),
            concurrency=64 if listed else 16,
            ahead=1200.0 if way in {"wrong clocks", "altered list"} else 0.0,
            finished=Path(folder) / "finished" if prepared else None,
        )
    lost = set(range(items)) - outcome.results.keys() - outcome.uncertain
    wrong = [
        number
        for number, output in outcome.results.items()
        if (output["n"] != number if prepared else output != item(number))
    ]
    twice = api.twice()
    measured = {
        "soak": "batch",
        "way": way,
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
    decides = way in {"usable list", "wrong clocks", "prepared inputs"}
    bad = lost or twice or wrong or outcome.failed or (decides and outcome.uncertain)
    return 1 if bad or outcome.kills < kills else 0


def limited() -> int:
    """Run a batch behind a limiter that takes up to 20 minutes for a permit."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(LIMITED), "300", f"{folder}/batch.db"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured = json.loads(said)
    print(json.dumps({"soak": "batch", "way": "shared limiter", **measured}), flush=True)
    return 0 if (measured["ok"], measured["made"]) == (300, 300) else 1


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
            allowed = 65_536 if journal else 16_384  # the keys take 12 bytes each
            failed |= int(measured["grown_kb"] > allowed)
    return failed


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    sys.exit(main(sys.argv[1:]))
