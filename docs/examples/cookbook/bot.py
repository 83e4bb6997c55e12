"""A chat bot in the terminal; an empty line ends it, Ctrl-C also stops an answer."""

import asyncio
import sys

from replicate_async import Replicate, ReplicateError
from replicate_async.local import ConcatenateIterator, LocalReplicate

MODEL = "meta/meta-llama-3-8b-instruct"


def stand_in(prompt: str, max_tokens: int) -> ConcatenateIterator[str]:
    yield from ("You ", "said: ", prompt.split("\n")[-2].removeprefix("User: "))


async def answer(client: Replicate, turns: list[str]) -> str:
    prompt = "\n".join([*turns[-20:], "Assistant:"])  # a model reads only so much
    async with client.stream(MODEL, {"prompt": prompt, "max_tokens": 300}) as stream:
        async for text in stream.text():
            print(text, end="", flush=True)
        return (await stream.final()).output_as(str)


async def main() -> None:
    turns: list[str] = []
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            try:
                said = await answer(client, [*turns, f"User: {line}"])
                turns += [f"User: {line}", f"Assistant: {said}"]
            except ReplicateError as error:  # the bot goes on, without this turn
                print(error, end="")
            print()


asyncio.run(main())
