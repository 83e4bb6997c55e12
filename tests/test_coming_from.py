"""The right-hand sides of the tables for users of other clients run, in the order of the page."""

from __future__ import annotations

import ast
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from inspect import iscoroutine
from pathlib import Path
from types import FunctionType

import msgspec
import pytest

import replicate_async
from replicate_async import Prediction, Replicate, webhooks
from replicate_async.core.webhook import decode_secret, sign
from replicate_async.local import ConcatenateIterator, LocalReplicate, OutputFile, Weights

PAGES = {"replicate-1": 60, "replicate-2-beta": 40, "fal-client": 25, "openai": 25}
"""The pages, and how many rows each has at least."""
FOLDER = Path(__file__).parent.parent / "docs" / "coming-from"
CODE = re.compile(r"`([^`]+)`")


def rows(page: str) -> list[tuple[int, str, str]]:
    """Return the line, the left and the right cell of each row of the tables of a page."""
    found: list[tuple[int, str, str]] = []
    for number, line in enumerate((FOLDER / f"{page}.md").read_text().splitlines(), start=1):
        if line.startswith("|") and "| here |" not in line and "|---|" not in line:
            left, right = line.removeprefix("| ").removesuffix(" |").split(" | ")
            found.append((number, left, right))
    return found


def program(cell: str) -> str:
    """Return the code of a cell: its first code span, and those that follow line breaks."""
    lines = [CODE.match(part) for part in cell.split("<br>")]
    return "\n".join(line[1] for line in lines if line)


def write(
    prompt: str = "Hi", system_prompt: str = "", max_tokens: int = 9, weights: Weights | None = None
) -> ConcatenateIterator[str]:
    yield from (prompt, system_prompt, f" {max_tokens}", " trained" if weights else "")


def train() -> bytes:
    return b"weights"


def painter() -> OutputFile:
    return OutputFile(b"a picture", "out.png")


async def signed(client: Replicate, prediction: Prediction) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a webhook for the prediction."""
    secret = await client.webhooks.default.secret.get()
    body, now = msgspec.json.encode(prediction), int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(decode_secret(secret.key), "msg_1", now, body),
    }
    return body, headers


@pytest.fixture
async def names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, object]]:
    """Return what the cells may use: the package's names, and what the index page promises."""
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("replicate_async")
    monkeypatch.setattr(log, "level", log.level)  # a cell sets it
    (tmp_path / "cat.png").write_bytes(b"a cat")
    async with LocalReplicate(username="owner") as server, AsyncExitStack() as stack:
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.api_token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
        server.model("owner/name", train=train)(write)
        server.add_model("owner/painter", painter)
        client = await stack.enter_async_context(Replicate())
        version = (await client.models.get("owner/name")).latest_version
        assert version is not None
        await client.models.create("owner/mine", visibility="private", hardware="cpu")
        await client.deployments.create(
            "art",
            model="owner/name",
            version=version.id,
            hardware="cpu",
            min_instances=0,
            max_instances=1,
        )
        prediction = await client.predictions.create("owner/name", {}, wait=True)
        body, headers = await signed(client, prediction)
        names: dict[str, object] = {
            **{name: getattr(replicate_async, name) for name in replicate_async.__all__},
            "Path": Path,
            "logging": logging,
            "webhooks": webhooks,
            "client": client,
            "input": {"prompt": "Hi"},
            "prediction": prediction,
            "image": await client.run("owner/painter"),
            "version_id": version.id,
            "url": f"{server.origin}/hook",
            "proxy": "http://127.0.0.1:1",
            "data": b"bytes",
            "show": print,
            "body": body,
            "headers": headers,
            "secret": await client.webhooks.default.secret.get(),
        }
        yield names
        if isinstance(last := names["client"], Replicate):
            await last.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("page", PAGES)
async def test_the_right_hand_sides_run(page: str, names: dict[str, object]) -> None:
    for line, _, cell in rows(page):
        # Empty lines before it, so that a traceback names the line of the page.
        source = "\n" * (line - 1) + program(cell)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        result = FunctionType(compile(source, f"{page}.md", "exec", flags=flags), names)()
        if iscoroutine(result):
            await result


@pytest.mark.parametrize("page", PAGES)
def test_each_row_has_code_on_both_sides(page: str) -> None:
    found = rows(page)

    assert len(found) >= PAGES[page]
    for line, left, right in found:
        assert CODE.search(left), (page, line)
        assert program(right), (page, line)


def test_each_page_is_listed() -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")}

    assert pages == {*PAGES, "index"}
    assert all(f"({page}.md)" in (FOLDER / "index.md").read_text() for page in PAGES)
