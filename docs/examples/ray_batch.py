"""A batch whose inputs are prepared, and whose outputs are stored, by actors on a Ray cluster.

All predictions are created by the driver: one pace, one journal. Run it again after any failure: no
prediction is created twice, and no output is written twice.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import ray

from replicate_async import BatchResult, FileOutput, Prediction, Replicate, TargetExistsError


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Worker:
    """A lost one is started elsewhere, and repeats the calls that were under way."""

    def __init__(self) -> None:
        self.client = Replicate()  # the token is in the environment of the worker

    async def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"width": 64, "center_x": row["x"] / 100 - 2, "zoom": 4}

    async def finish(self, prediction: Prediction, path: str) -> str:
        picture: FileOutput = self.client.parse_output(prediction)
        with suppress(TargetExistsError):  # by a call that was repeated
            await picture.save(path)
        return path


async def main(folder: str, items: int = 8, actors: int = 2) -> None:
    workers = cycle([Worker.remote() for _ in range(actors)])

    async def prepare(row: dict[str, Any]) -> dict[str, Any]:
        return await next(workers).prepare.remote(row)

    async def finish(result: BatchResult[Any]) -> str:
        path = f"{folder}/{result.key}.png"  # in a folder that all workers see
        return await next(workers).finish.remote(result.prediction, path)

    async with Replicate() as client:
        batch = client.batch(
            "local/mandelbrot",
            ({"id": f"x{x}", "x": x} for x in range(items)),
            key="id",
            prepare=prepare,
            finish=finish,
            journal=f"{folder}/batch.db",
        )
        async for result in batch:
            print(result.key, result.value if result.ok else result.error, flush=True)


if __name__ == "__main__":
    ray.init(log_to_driver=False)
    asyncio.run(main(str(Path(sys.argv[1]).resolve()), *map(int, sys.argv[2:])))
