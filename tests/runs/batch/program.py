"""A batch to be killed: `program.py URL JOURNAL ITEMS CONCURRENCY AHEAD OUTAGE [FINISHED]`.

It prints what it came to. Its clock is AHEAD seconds ahead of the API's, and it bears an outage for
OUTAGE seconds. With FINISHED, a file, inputs are prepared, differently at each call, and ``finish``
writes the indexes of its results there.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import random
from typing import Any, Final

if __name__ == "__main__":  # before anything takes the real one
    AHEAD: Final = float(sys.argv[5])
    _time = time.time
    time.time = lambda: _time() + AHEAD

sys.path.insert(0, str(Path(__file__).parents[3]))

from replicate_async import BatchResult
from tests.runs.batch.api import MODEL, QUICK, SOON, client_of, item


async def prepare(row: Mapping[str, object]) -> dict[str, object]:
    """Return another input at each call."""
    await asyncio.sleep(0)
    return {**row, "prompt": f"{random()} {row['prompt']}"}


async def main(
    url: str, journal: str, items: int, concurrency: int, outage: float, finished: str
) -> None:
    """Run the batch and print its results when it came to an end."""

    async def finish(result: BatchResult[Any]) -> int:
        with Path(finished).open("a") as file:  # noqa: ASYNC230 - a line
            file.write(f"{result.index}\n")
        await asyncio.sleep(0)
        return result.index

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
            prepare=prepare if finished else None,
            finish=finish if finished else None,
        )
        async for result in batch:
            if result.ok:
                assert result.value == (result.index if finished else None)
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
        asyncio.run(main(sys.argv[1], sys.argv[2], *numbers, "".join(sys.argv[7:])))
