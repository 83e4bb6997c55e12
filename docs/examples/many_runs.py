"""Run a model for many inputs at once, and keep going when one of them fails."""

from __future__ import annotations

import asyncio

from replicate_async import PredictionFailed, Replicate

NAMES = ["Ada", "Grace", "Barbara", "Frances", "Hedy"]


async def greet(client: Replicate, name: str) -> str:
    try:
        return await client.run("replicate/hello-world", {"text": name}, type=str)
    except PredictionFailed as error:
        return f"{name}: {error.prediction.error}"


async def main() -> None:
    async with Replicate() as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(greet(client, name)) for name in NAMES]
    for task in tasks:
        print(task.result())


asyncio.run(main())
