"""Caption each picture of a folder, in a CSV file; a second run does what is new."""

import asyncio
import csv
import sys
from pathlib import Path

from replicate_async import Replicate
from replicate_async.local import InputFile, LocalReplicate

MODEL = "salesforce/blip"


def stand_in(image: InputFile) -> str:
    return f"Caption: a picture of {image.size} bytes"


async def main(folder: str) -> None:
    pictures = [path for path in Path(folder).iterdir() if path.suffix in {".jpg", ".png"}]
    captions: dict[str, str] = {}
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        inputs = [{"image": picture} for picture in pictures]
        async for result in client.batch(MODEL, inputs, type=str, journal="captions.db"):
            name = pictures[result.index].name
            caption = result.output or f"failed: {result.error}"
            captions[name] = caption.removeprefix("Caption: ")
            print("known:" if result.resumed else "new:", name, captions[name])
    with Path("captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *sorted(captions.items())])


asyncio.run(main(sys.argv[1]))
