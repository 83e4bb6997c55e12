"""Find the texts that are nearest in meaning to a question."""

import asyncio
import json
from math import hypot

from replicate_async import Replicate
from replicate_async.local import LocalReplicate

MODEL = "replicate/all-mpnet-base-v2"
TEXTS = ["Foxes hunt mice at night.", "Whales sing in the sea.", "Frogs are green."]


def stand_in(text_batch: str) -> list[dict[str, list[float]]]:
    """Count letters; the model knows meanings."""
    return [{"embedding": [*map(t.count, "aeginrst")]} for t in json.loads(text_batch)]


async def embed(client: Replicate, texts: list[str]) -> list[list[float]]:
    found = await client.run(MODEL, {"text_batch": json.dumps(texts)})
    return [one["embedding"] for one in found]


def likeness(one: list[float], two: list[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True)) / hypot(*one) / hypot(*two)


async def main() -> None:
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        asked, *known = await embed(client, ["Who hunts at night?", *TEXTS])
        scores = (likeness(asked, one) for one in known)
        for score, text in sorted(zip(scores, TEXTS, strict=True), reverse=True):
            print(f"{score:.2f} {text}")


asyncio.run(main())
