"""Both chat pages in Chromium: the content of the screen, and the requests to the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import anyio
import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from replicate_async import Prediction, Replicate
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate
from tests.browser.chromium import chromium, picture
from tests.support.fault_proxy import FaultProxy, LimitData
from tests.web.example import FOLDER, example

pytestmark = pytest.mark.anyio

EXAMPLES: Final = ["fastapi_chat", "aiohttp_chat"]
WORDS: Final = 100
STORY: Final = "".join(f"word {count} \u201cwith\u201d  two\nlines; " for count in range(WORDS))

# Notes when the text on the screen changes, and how long it is then.
WATCH: Final = """
() => {
  window.seen = [];
  new MutationObserver(() => {
    const answer = [...document.querySelectorAll('.answer')].at(-1);
    if (answer) window.seen.push([performance.now(), answer.textContent.length]);
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}
"""


MARKDOWN: Final = """\
# A *title*

Some **bold** words, `code < 1`, a [page](https://a.example/x) and <b>no HTML</b>:
<img src=x onerror="window.hacked = 1"> and [a trap](javascript:alert(1)).

- one
- two

1. first

```python
print("<script>window.hacked = 1</script>" + "a line that is longer than a small screen")
```

averyveryveryverylongwordwithoutanyplaceatwhichalinecouldbebrokeninanyhonestwayatall
"""


async def story(prompt: str, max_tokens: int = 0) -> AsyncConcatenateIterator[str]:
    """Tell the story, or write Markdown, or fail, or think for long."""
    if prompt == "markdown":
        for at in range(0, len(MARKDOWN), 7):
            yield MARKDOWN[at : at + 7]
            await asyncio.sleep(0.005)
        return
    if prompt == "fail":
        yield "It began well"
        raise RuntimeError("out of ideas")
    pause = {"silent": 1000, "long": 0.2}.get(prompt.rsplit(maxsplit=1)[-1], 0.03)
    for count in range(WORDS):
        yield f"word {count} \u201cwith\u201d  two\nlines; "
        await asyncio.sleep(pause)


@pytest.fixture
async def server(server: LocalReplicate) -> LocalReplicate:
    server.model("acme/story", official=True)(story)
    return server


@pytest.fixture(params=EXAMPLES)
async def address(request: pytest.FixtureRequest, server: LocalReplicate) -> AsyncIterator[str]:
    name = str(request.param)
    async with example(name, "--model", "acme/story", server=server) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def browser() -> AsyncGenerator[Browser, None]:
    async with chromium() as started:
        yield started


@pytest.fixture
async def context(browser: Browser) -> AsyncGenerator[BrowserContext, None]:
    context = await browser.new_context(viewport={"width": 1000, "height": 720})
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext, address: str) -> Page:
    page = await context.new_page()
    await page.goto(address)
    return page


async def ask(page: Page, prompt: str) -> None:
    await page.fill("#prompt", prompt)
    await page.press("#prompt", "Enter")


async def until_there_is_text(page: Page, least: int = 40) -> str:
    await page.wait_for_function(
        f"() => [...document.querySelectorAll('.answer')].at(-1)?.textContent.length >= {least}"
    )
    return await answer(page)


async def answer(page: Page) -> str:
    return str(await page.locator(".answer").last.evaluate("node => node.textContent"))


async def until_it_is_over(page: Page) -> None:
    await expect(page.locator("#stop")).to_be_hidden(timeout=15_000)


async def runs(client: Replicate) -> list[Prediction]:
    return [prediction async for prediction in client.predictions.list()]


async def until_ended(client: Replicate, seconds: float) -> list[str]:
    """Wait until every run has ended, and return how."""
    with anyio.fail_after(seconds):
        while True:
            made = await runs(client)
            if made and all(prediction.done for prediction in made):
                return [str(prediction.status) for prediction in made]
            await anyio.sleep(0.05)


async def test_tokens_appear_as_they_are_made(page: Page, client: Replicate) -> None:
    await page.evaluate(WATCH)
    await picture(page, "empty")
    await ask(page, "a story")
    await until_there_is_text(page, 300)
    await picture(page, "running")
    await until_it_is_over(page)

    assert await answer(page) == STORY
    seen: list[tuple[float, int]] = await page.evaluate("window.seen")
    first = next(at for at, length in seen if length)
    last = next(at for at, length in seen if length == len(STORY))
    assert last - first > 1000 * 0.03 * WORDS / 2
    assert len({length for _, length in seen}) > WORDS / 2
    await picture(page, "done")


async def test_markdown_becomes_elements_and_never_html(page: Page) -> None:
    await ask(page, "markdown")
    await until_it_is_over(page)
    await picture(page, "markdown")
    shown = page.locator(".answer").last

    assert await shown.locator("h2 em").inner_text() == "title"
    assert await shown.locator("strong").inner_text() == "bold"
    assert await shown.locator("p code").inner_text() == "code < 1"
    assert await shown.locator("ul li").all_inner_texts() == ["one", "two"]
    assert await shown.locator("ol li").all_inner_texts() == ["first"]
    assert "<script>" in await shown.locator("pre code").inner_text()
    links = await shown.locator("a").evaluate_all("all => all.map((a) => [a.href, a.rel])")
    assert links == [["https://a.example/x", "noopener noreferrer"]]
    assert await shown.locator("img, script, b").count() == 0
    assert "<b>no HTML</b>" in await answer(page)
    assert await page.evaluate("window.hacked") is None


async def test_the_page_fits_a_small_screen(page: Page) -> None:
    await page.set_viewport_size({"width": 320, "height": 560})
    await picture(page, "small-empty")
    await ask(page, "markdown")
    await until_it_is_over(page)
    await picture(page, "small-markdown")
    await ask(page, "a question " * 20 + "x" * 100)
    await until_there_is_text(page, 20)
    await picture(page, "small-running")
    await page.click("#stop")
    await until_it_is_over(page)
    await picture(page, "small")

    wide = """
        () => [...document.querySelectorAll("body, header, main, form, article, article *")]
          .filter((node) => !node.closest("pre") || node.tagName === "PRE")
          .map((node) => [node.tagName, node.getBoundingClientRect()])
          .filter(([, box]) => box.left < 0 || box.right > 320)
          .map(([name, box]) => `${name} ${box.left} ${box.right}`)
    """
    assert await page.evaluate(wide) == []
    assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_the_model_gets_the_conversation(page: Page, client: Replicate) -> None:
    await ask(page, "fail")
    await until_it_is_over(page)
    await ask(page, "silent")
    await until_there_is_text(page, 5)
    await page.click("#stop")
    await until_it_is_over(page)

    prompts = {str((run.input or {})["prompt"]) for run in await runs(client)}
    turns = ["User: fail", "Assistant: It began well", "User: silent", "Assistant:"]
    assert prompts == {"fail", "\n\n".join(turns)}


async def test_one_question_makes_one_prediction(page: Page, client: Replicate) -> None:
    assert await runs(client) == []
    await ask(page, "a story")
    await until_it_is_over(page)
    await page.reload()
    await anyio.sleep(2.5)  # longer than an EventSource takes to come back

    assert await answer(page) == STORY
    assert len(await runs(client)) == 1


async def test_stop_cancels_the_prediction(page: Page, client: Replicate) -> None:
    await ask(page, "a story")
    await until_there_is_text(page)
    await page.click("#stop")
    await until_it_is_over(page)
    await picture(page, "stopped")

    assert await until_ended(client, 2) == ["canceled"]
    assert STORY.startswith(await answer(page))
    assert "Stopped." in await page.locator(".note").last.inner_text()


@pytest.mark.parametrize("prompt", ["long", "silent"])
async def test_closing_the_tab_cancels_the_prediction(
    page: Page, client: Replicate, prompt: str
) -> None:
    await ask(page, prompt)
    await until_there_is_text(page, 5)
    await page.close()

    assert await until_ended(client, 3 + 2) == ["canceled"]  # three are for a page that comes back


async def test_a_refresh_goes_on_with_the_exact_text(page: Page, client: Replicate) -> None:
    await ask(page, "a story")
    for length in (100, 500, 900):
        await until_there_is_text(page, length)
        await page.reload()
        before = await answer(page)
        assert len(before) >= length
        assert STORY.startswith(before)
    await until_it_is_over(page)

    assert await answer(page) == STORY
    assert await until_ended(client, 2) == ["succeeded"]


async def test_a_connection_that_breaks_goes_on_with_the_exact_text(
    context: BrowserContext, address: str, client: Replicate
) -> None:
    port = int(address.rpartition(":")[2])
    # The page passes, and the connection breaks in the middle of the events that follow over it.
    size = len((FOLDER / "chat.html").read_bytes())
    async with FaultProxy(port, downstream=[LimitData(size + 4000, by_reset=True)]) as proxy:
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{proxy.port}/")
        await page.evaluate(
            "() => { window.broken = 0; const Known = EventSource;"
            " window.EventSource = class extends Known { constructor(...all) { super(...all);"
            " this.addEventListener('error', (e) => { if (!e.data) window.broken++ }) } } }"
        )
        await ask(page, "a story")
        await until_it_is_over(page)

        assert await answer(page) == STORY
        assert await page.evaluate("window.broken") >= 1
        await page.close()
        assert len(await runs(client)) == 1


async def test_five_tabs_do_not_disturb_each_other(
    context: BrowserContext, address: str, client: Replicate
) -> None:
    tabs = [await context.new_page() for _ in range(5)]
    for number, tab in enumerate(tabs):
        await tab.goto(address)
        await ask(tab, f"story {number}")
    for tab in tabs:
        await until_it_is_over(tab)

    assert [await answer(tab) for tab in tabs] == [STORY] * 5
    assert await until_ended(client, 2) == ["succeeded"] * 5


async def test_a_failed_model_is_shown(page: Page) -> None:
    await ask(page, "fail")
    await until_it_is_over(page)
    await picture(page, "failed")

    assert await answer(page) == "It began well"
    assert "out of ideas" in await page.locator(".note").last.inner_text()
