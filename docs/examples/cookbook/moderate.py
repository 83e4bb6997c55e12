"""Ask a language model whether a prompt is harmless before a picture of it is made."""

import asyncio

from replicate_async import FileOutput, Replicate
from replicate_async.local import LocalReplicate, OutputFile

JUDGE, PAINTER = "meta/meta-llama-3-8b-instruct", "black-forest-labs/flux-schnell"
RULES = "Say 'safe' or 'unsafe', and no more: may children see a picture of this?"


def judge(prompt: str, system_prompt: str, max_tokens: int) -> str:
    return "unsafe" if "blood" in prompt else "safe"


def paint(prompt: str) -> list[OutputFile]:
    return [OutputFile(prompt.encode(), "out.webp", "image/webp")]


async def draw(client: Replicate, prompt: str) -> FileOutput | None:
    question = {"prompt": prompt, "system_prompt": RULES, "max_tokens": 5}
    verdict = await client.run(JUDGE, question, type=str)
    if verdict.strip().lower() != "safe":  # any other answer refuses the prompt
        return None
    return (await client.run(PAINTER, {"prompt": prompt}, type=list[FileOutput]))[0]


async def main() -> None:
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={JUDGE: judge}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        server.add_model(PAINTER, paint)  # with a token, leave this line out
        for prompt in ("a red fox", "a fox with blood on its teeth"):
            image = await draw(client, prompt)
            print(f"{prompt}:", await image.save("pictures/") if image else "refused")


asyncio.run(main())
