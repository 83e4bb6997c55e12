"""Spend at most a budget on a batch; the next run of the program goes on from there."""

import asyncio

from replicate_async import Replicate
from replicate_async.local import LocalReplicate, OutputFile

MODEL = "black-forest-labs/flux-schnell"
PRICE = 0.003  # dollars for a picture, as the page of the model says
BUDGET = 0.010  # dollars for a run of this program
PAINTERS = ["monet", "klimt", "kahlo", "hokusai", "vermeer"]


def stand_in(prompt: str) -> list[OutputFile]:
    return [OutputFile(prompt.encode(), "out.webp", "image/webp")]


async def main() -> None:
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
            max_predictions=int(BUDGET / PRICE),
        )
        async for result in batch:
            print("known:" if result.resumed else "new:", *result.files)
        print(f"spent {client.usage.total.cost or 0:.3f} dollars")


asyncio.run(main())
