"""Train a model on a text of yours, then stream what the new version writes.

Trainings take a model to put the new version into, which has to exist and be yours.
"""

from __future__ import annotations

import asyncio

from replicate_async import Replicate

TEXT = """
The fox slept under the hedge. The fox woke when the rain began to fall on the hedge. The rain ran
down the hill, and the fox ran after the rain, down the hill and over the bridge. Under the bridge
the water slept. The water woke when the fox began to sing.
"""


async def main() -> None:
    async with Replicate() as client:
        account = await client.account.get()
        mine = await client.models.create(
            f"{account.username}/storyteller", visibility="private", hardware="cpu"
        )
        storyteller = await client.models.get("local/storyteller")
        if storyteller.latest_version is None:
            raise SystemExit("local/storyteller is a model of the embedded server")

        training = await client.trainings.create(
            f"local/storyteller:{storyteller.latest_version.id}",
            destination=f"{mine.owner}/{mine.name}",
            input={"text": TEXT, "repeat": 2},
        )
        training = await client.trainings.wait(training)
        if training.output is None or training.output.version is None:
            raise SystemExit(training.error)

        async with client.stream(training.output.version, {"prompt": "The fox"}) as stream:
            async for event in stream:
                print(event, end="", flush=True)
        print()


asyncio.run(main())
