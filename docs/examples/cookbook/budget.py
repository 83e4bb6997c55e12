"""Spend at most a budget on a batch: python budget.py 0.010; with more, it goes on from there."""

import asyncio
import sys

from replicate_async import Replicate
from replicate_async.local import LocalReplicate, OutputFile

MODEL = "black-forest-labs/flux-schnell"
PRICE = 0.003  # dollars for a picture, as the page of the model says
PAINTERS = ["monet", "klimt", "kahlo", "hokusai", "vermeer"]


def stand_in(prompt: str) -> list[OutputFile]:
    return [OutputFile(prompt.encode(), "out.webp", "image/webp")]


async def main(budget: float) -> None:
    async with (  # with a token: async with Replicate(prices=...) as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url, prices={MODEL: lambda _: PRICE}) as client,
    ):
        batch = client.batch(
            MODEL,
            [{"painter": name, "prompt": f"a fox, painted by {name}"} for name in PAINTERS],
            key="painter",
            journal="budget.db",
            save_files="pictures",
            max_cost=budget,
        )
        async for result in batch:
            print("known:" if result.resumed else "new:", *result.files)
        print(f"spent {batch.summary.cost:.3f} dollars")


asyncio.run(main(float(sys.argv[1])))
