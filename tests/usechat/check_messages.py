"""The example backend, asked by the classes that stand behind ``useChat``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE
from typing import Final

import anyio
import msgspec
import pytest

from replicate_async import Prediction, Replicate
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate
from tests.web.example import example

pytestmark = pytest.mark.anyio

SCRIPT: Final = Path(__file__).with_name("chat.mjs")
STORY: Final = "".join(f'\u201cword\u201d {count}\n\n "quoted" \\ ' for count in range(40))


class Seen(msgspec.Struct):
    status: str
    error: str | None
    role: str
    id: str
    text: str
    states: list[str]
    partly: str
    deltas: int
    messages: int


async def story(prompt: str, max_tokens: int = 0) -> AsyncConcatenateIterator[str]:
    for count in range(40):
        yield f'\u201cword\u201d {count}\n\n "quoted" \\ '
        if prompt == "fail" and count == 5:
            raise RuntimeError("out of ideas")
        await asyncio.sleep(0.5 if prompt == "a long story" else 0.02)


@pytest.fixture
async def address(server: LocalReplicate) -> AsyncIterator[str]:
    server.model("acme/story", official=True)(story)
    async with example("usechat_backend", "--model", "acme/story", server=server) as port:
        yield f"http://127.0.0.1:{port}"


async def chat(*arguments: str) -> Seen:
    assert os.environ.get("NODE_FOLDER"), "has to say where the npm package ai is installed"
    with anyio.fail_after(30):
        ran = await anyio.run_process(
            ["node", str(SCRIPT), *arguments],
            stderr=PIPE,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr.decode()
    return msgspec.json.decode(ran.stdout, type=Seen)


async def only_run(client: Replicate) -> Prediction:
    (run,) = [prediction async for prediction in client.predictions.list()]
    return run


async def test_a_message_is_read_whole_and_as_it_comes(address: str, client: Replicate) -> None:
    seen = await chat(address, "a story")

    assert (seen.status, seen.error, seen.role) == ("ready", None, "assistant")
    assert seen.text == STORY
    assert seen.states == ["done"]
    assert seen.deltas > 20
    assert seen.id == (await only_run(client)).id


async def test_a_failed_model_is_an_error(address: str) -> None:
    seen = await chat(address, "fail")

    assert (seen.status, seen.error) == ("error", "out of ideas")
    assert seen.text
    assert STORY.startswith(seen.text)


async def test_stop_cancels_the_prediction(address: str, client: Replicate) -> None:
    seen = await chat(address, "a long story", "stop")

    assert seen.status == "ready"
    assert 0 < len(seen.text) < len(STORY)
    ended = await client.predictions.wait(await only_run(client), timeout=6)
    assert ended.status == "canceled"


async def test_a_chat_is_resumed(address: str, client: Replicate) -> None:
    seen = await chat(address, "a story", "stop", "resume")

    assert len(seen.partly) < len(STORY)
    assert seen.text == STORY
    assert (await only_run(client)).status == "succeeded"


async def test_there_is_nothing_to_resume_after_the_end(address: str) -> None:
    seen = await chat(address, "a story", "resume")

    assert (seen.status, seen.text, seen.messages) == ("ready", STORY, 2)
