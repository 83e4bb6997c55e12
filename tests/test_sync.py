"""The ways into the client from synchronous code, as the page on them has them, without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from replicate_async.local import LocalReplicate
from tests.test_docs import snippets

PAGE = Path(__file__).parent.parent / "docs" / "howto" / "sync.md"
REASON = "the web session installs it"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalReplicate]:
    """Run an embedded server in another thread, which the environment names."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(LocalReplicate()) as server,
    ):
        monkeypatch.setenv("REPLICATE_API_TOKEN", server.api_token)
        monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
        yield server


def run(names: dict[str, Any], *marks: str) -> None:
    """Run the snippet of the page with each of *marks* in it, in one namespace."""
    for mark in marks:
        (snippet,) = [found for found in snippets(PAGE) if mark in found.source]
        code = compile("\n" * (snippet.line - 1) + snippet.source, str(PAGE), "exec")
        exec(code, names)


def test_a_synchronous_function_runs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    run({}, "def tell_now")

    assert len(capsys.readouterr().out.split()) > 5


def test_a_portal_makes_a_blocking_client(capsys: pytest.CaptureFixture[str]) -> None:
    run({}, "# Keyword arguments need a lambda.")

    greeting, *stories = capsys.readouterr().out.splitlines()
    assert greeting == "hello Ada"
    assert len(" ".join(stories).split()) > 10


def test_threads_of_a_flask_application_share_a_client() -> None:
    pytest.importorskip("flask", reason=REASON)
    names: dict[str, Any] = {"__name__": "views"}
    run(names, "app = Flask(__name__)")

    def ask(prompt: str) -> str:
        answer = names["app"].test_client().get("/tell", query_string={"prompt": prompt})
        return str(answer.text)

    with names["stack"], ThreadPoolExecutor(3) as threads:
        told = list(threads.map(ask, ["The sea", "The fox", "The rain"]))

    assert all(len(text.split()) > 5 for text in told)


def test_django_views_run_a_model() -> None:
    pytest.importorskip("flask", reason=REASON)
    django = pytest.importorskip("django.test", reason=REASON)
    settings = pytest.importorskip("django.conf", reason=REASON).settings
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["testserver"])
    names: dict[str, Any] = {"__name__": "views"}
    run(names, "async def tell(request", "def tell_blocking")
    request = django.RequestFactory().get("/tell", {"prompt": "The sea"})

    async def ask() -> Any:
        async with names["client"]:
            return await names["tell"](request)

    async_answer = asyncio.run(ask())
    run(names, "app = Flask(__name__)")
    with names["stack"]:
        blocking_answer = names["tell_blocking"](request)

    assert len(async_answer.content.split()) > 5
    assert len(blocking_answer.content.split()) > 5
