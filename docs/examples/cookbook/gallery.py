"""Make pictures of several prompts at a time, and a page that shows them."""

import asyncio
from html import escape
from pathlib import Path

from replicate_async import FileOutput, Replicate, save_all
from replicate_async.local import LocalReplicate, OutputFile

MODEL = "black-forest-labs/flux-schnell"
PROMPTS = ["a red fox", "a blue whale", "a green frog"]
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="{}" fill="{}"/></svg>'


def stand_in(prompt: str, num_outputs: int) -> list[OutputFile]:
    drawn = [SVG.format(50 + 50 * n, prompt.split()[1]) for n in range(num_outputs)]
    return [OutputFile(svg.encode(), "out.svg", "image/svg+xml") for svg in drawn]


async def draw(client: Replicate, prompt: str) -> str:
    options = {"prompt": prompt, "num_outputs": 2}
    images = await client.run(MODEL, options, type=list[FileOutput])
    paths = await save_all(images, Path("gallery", prompt.replace(" ", "-")))
    shown = [f'<img width=200 src="{path.parent.name}/{path.name}">' for path in paths]
    return f"<h2>{escape(prompt)}</h2>{''.join(shown)}"


async def main() -> None:
    async with (  # with a token: async with Replicate() as client:
        LocalReplicate(models={MODEL: stand_in}) as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        parts = await asyncio.gather(*(draw(client, prompt) for prompt in PROMPTS))
    Path("gallery/index.html").write_text("\n".join(parts))
    print("Open gallery/index.html")


asyncio.run(main())
