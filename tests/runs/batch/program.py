"""A batch to be killed: `program.py URL JOURNAL ITEMS CONCURRENCY AHEAD OUTAGE`.

It prints what it came to. Its clock is AHEAD seconds ahead of the API's, and it bears an outage for
OUTAGE seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # before anything takes the real one
    AHEAD: Final = float(sys.argv[5])
    _time = time.time
    time.time = lambda: _time() + AHEAD

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.runs.batch.api import MODEL, QUICK, SOON, client_of, item


async def main(url: str, journal: str, items: int, concurrency: int, outage: float) -> None:
    """Run the batch and print its results when it came to an end."""
    results: list[tuple[int, object]] = []
    uncertain: list[int] = []
    failed: list[str] = []
    async with client_of(url) as client:
        inputs = [item(number) for number in range(items)]
        batch = client.batch(
            MODEL,
            inputs,
            journal=journal,
            concurrency=concurrency,
            poll=QUICK,
            batch_timeouts=replace(SOON, outage=outage),
        )
        async for result in batch:
            if result.ok:
                results.append((result.index, result.output))
            elif result.uncertain:
                uncertain.append(result.index)
            else:
                failed.append(str(result.error))
    print(json.dumps({"results": results, "uncertain": uncertain, "failed": failed}), flush=True)


if __name__ == "__main__":
    # Imported and ready before it goes on, so that kills fall on the batch and not on imports.
    print("ready", flush=True)
    if sys.stdin.readline():
        numbers = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[6])
        asyncio.run(main(sys.argv[1], sys.argv[2], *numbers))
