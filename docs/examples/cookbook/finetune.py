"""Train a model on your pictures, then use the version that the training made."""

import asyncio
import sys
from pathlib import Path

from replicate_async import FileOutput, Replicate
from replicate_async.local import InputFile, LocalReplicate, OutputFile, Weights

TRAINER = "ostris/flux-dev-lora-trainer"


def stand_in(prompt: str, weights: Weights | None = None) -> list[OutputFile]:
    return [OutputFile(prompt.encode() + b" " + (weights or b""), "out.webp")]


def train(input_images: InputFile, trigger_word: str) -> bytes:
    return f"({trigger_word}: {input_images.size} bytes)".encode()


async def main(images: str) -> None:
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate() as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        server.model(TRAINER, train=train)(stand_in)  # with a token, leave this line out
        mine = f"{(await client.account.get()).username}/fox"
        await client.models.create(mine, visibility="private", hardware="gpu-t4")
        data = {"input_images": Path(images), "trigger_word": "FOX"}
        training = await client.trainings.create(TRAINER, destination=mine, input=data)
        training = await client.trainings.wait(training)
        print("The training", training.status, training.error or "")
        drawn = await client.run(mine, {"prompt": "FOX at sea"}, type=list[FileOutput])
        print("Saved", await drawn[0].save("fox.webp"))


asyncio.run(main(sys.argv[1]))
