"""Chat with a model that sees what was said before."""

import asyncio

from replicate_async import Replicate
from replicate_async.local import ConcatenateIterator, LocalReplicate

MODEL = "meta/meta-llama-3-70b-instruct"
QUESTIONS = ["Who am I?", "My name is Ada.", "Who am I?"]


def stand_in(prompt: str, system_prompt: str) -> ConcatenateIterator[str]:
    name = prompt.partition("My name is ")[2].partition(".")[0]
    yield from ("You ", "are ", f"{name}.") if name else ("I ", "do ", "not ", "know.")


async def main() -> None:
    history: list[str] = []
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        for question in QUESTIONS:
            print("User:", question, "\nAssistant: ", end="")
            history.append(f"User: {question}")
            answer = ""
            prompt = "\n\n".join([*history, "Assistant:"])
            options = {"prompt": prompt, "system_prompt": "Be brief."}
            async with client.stream(MODEL, options) as stream:
                async for text in stream.text():
                    print(text, end="", flush=True)
                    answer += text
            history.append(f"Assistant: {answer}")
            print()


asyncio.run(main())
