from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from replicate_async.web import ResumePoint
from tests.web.browser import Browser, assert_canceled, fetch, runs
from tests.web.example import conversation, example

pytestmark = pytest.mark.anyio

CHATS = ["fastapi_chat", "aiohttp_chat"]
RECIPES = ["litestar_recipe", "quart_recipe"]
NEEDS = {"litestar_recipe": "litestar", "quart_recipe": "quart"}


def use_chat(prompt: str) -> str:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": prompt}]}
    return json.dumps({"id": "c1", "messages": [message], "trigger": "submit-message"})


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_page_runs_with_one_command(name: str) -> None:
    async with example(name, "--local") as port:
        page = await fetch(port, "/")
        asked = await fetch(port, "/runs", "POST", conversation("The sea"))
        path = f"/runs/{json.loads(asked.body)['id']}"
        async with Browser(port) as browser:
            await browser.ask(f"{path}/events")
            await browser.until(b"event: output")
        stopped = await fetch(port, f"{path}/stop", "POST")
        followed = await fetch(port, f"{path}/events")
        again = await fetch(port, f"{path}/events", Last_Event_ID=followed.events[-1].id)
        unknown = await fetch(port, "/runs/nothing/events")

    assert b"<title>Chat</title>" in page.body
    assert (asked.status, stopped.status, again.status) == (201, 204, 204)
    assert followed.events[-1].data == '{"reason":"canceled"}'
    assert unknown.status == 404


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_page_shows_a_browser_the_way_on(
    name: str, server: LocalReplicate, client: Replicate
) -> None:
    async with example(name, "--model", "acme/chat", server=server) as port:
        asked = await fetch(port, "/runs", "POST", conversation("hello"))
        path = f"/runs/{json.loads(asked.body)['id']}/events"
        first, *rest = (await fetch(port, path)).events
        resumed = await fetch(port, f"{path}?last_event_id={first.id}")

    assert ResumePoint.parse(first.id).chars_sent == len("You said: ")
    assert "".join(event.data for event in rest[:-1]) == "hello (200)."
    assert resumed.events == rest
    assert len(await runs(client)) == 1


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_page_sends_the_conversation(
    name: str, server: LocalReplicate, client: Replicate
) -> None:
    async with example(name, "--model", "acme/chat", server=server) as port:
        asked = await fetch(port, "/runs", "POST", conversation("Hi", "Hello!", "And you?"))

    [run] = await runs(client)
    assert asked.status == 201
    turns = ["User: Hi", "Assistant: Hello!", "User: And you?", "Assistant:"]
    assert run.input is not None
    assert run.input["prompt"] == "\n\n".join(turns)


@pytest.mark.parametrize("name", CHATS)
async def test_a_refused_prompt_has_a_status(name: str, server: LocalReplicate) -> None:
    async with example(name, "--model", "acme/greet", server=server) as port:
        asked = await fetch(port, "/runs", "POST", conversation("hello"))

    assert asked.status == 422
    assert "name" in json.loads(asked.body)["detail"]


async def test_a_backend_for_use_chat(server: LocalReplicate, client: Replicate) -> None:
    async with example("usechat_backend", "--model", "acme/chat", server=server) as port:
        told = await fetch(port, "/api/chat", "POST", use_chat("hello"))
        nothing = await fetch(port, "/api/chat/c1/stream")
        async with Browser(port) as browser:
            await browser.ask("/api/chat", "POST", use_chat("wait"))
            await browser.until(b"text-delta")
        async with Browser(port) as browser:
            await browser.ask("/api/chat/c1/stream")
            again = await browser.until(b"text-delta")

    assert told.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert b"hello" in told.body
    assert nothing.status == 204
    assert b'"type":"start"' in again
    assert sorted(str(run.status) for run in await runs(client)) == ["canceled", "succeeded"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
async def test_a_recipe_streams_and_cancels(
    name: str, server: LocalReplicate, client: Replicate
) -> None:
    pytest.importorskip(NEEDS[name], reason="the web session installs it")
    async with example(name, "--model", "acme/chat", server=server) as port:
        async with Browser(port) as browser:
            await browser.ask("/story?prompt=wait", "POST")
            await browser.until(b"event: output")
        await assert_canceled(client)
        told = await fetch(port, "/story?prompt=hello", "POST")
        assert told.events[-1].event == "done"
        assert "".join(event.data for event in told.events[:-1]) == "You said: hello (0)."


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
async def test_a_recipe_ends_its_streams_when_the_server_stops(
    name: str, server: LocalReplicate, client: Replicate
) -> None:
    pytest.importorskip(NEEDS[name], reason="the web session installs it")
    async with AsyncExitStack() as tabs:
        async with example(name, "--model", "acme/chat", server=server) as port:
            browser = await tabs.enter_async_context(Browser(port))
            await browser.ask("/story?prompt=wait", "POST")
            await browser.until(b"event: output")
        rest = await browser.rest()

    assert rest.endswith(b"0\r\n\r\n")  # a response that the server cancels has no last chunk
    await assert_canceled(client)
