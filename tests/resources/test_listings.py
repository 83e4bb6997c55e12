"""Listings: page by page over the embedded server, and over servers that mislead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from replicate_async import (
    Limits,
    NotFoundError,
    PaginationLoopError,
    Paginator,
    Replicate,
    UntrustedURLError,
)
from replicate_async.local import LocalReplicate, Settings
from replicate_async.local.builtins import BUILTINS
from tests.resources.test_deployments import deploy, version_of
from tests.support.embedded import embedded
from tests.support.fault_server import FaultServer, Handler, Stranger, script
from tests.support.replies import json_answer, page, prediction
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

COUNT = 5


@pytest.fixture
async def small_pages() -> AsyncIterator[tuple[LocalReplicate, Replicate]]:
    settings = Settings(page_size=2, model_page_size=2)
    async with embedded(settings) as pair:
        yield pair


def say(text: str = "") -> str:
    return text


async def make_predictions(_server: LocalReplicate, client: Replicate, number: int) -> object:
    return await client.predictions.create("local/echo", {"value": number})


async def make_file(_server: LocalReplicate, client: Replicate, number: int) -> object:
    return await client.files.create(b"%d" % number)


async def make_deployment(_server: LocalReplicate, client: Replicate, number: int) -> object:
    return await deploy(client, f"prod-{number}")


async def make_training(_server: LocalReplicate, client: Replicate, number: int) -> object:
    if number == 0:
        await client.models.create("dev/tales", visibility="private", hardware="cpu")
    version = await version_of(client, "local/storyteller")
    return await client.trainings.create(
        f"local/storyteller:{version}", destination="dev/tales", input={"text": "one two three"}
    )


async def make_model(server: LocalReplicate, _client: Replicate, number: int) -> object:
    return server.add_model(f"acme/say-{number}", say)


async def make_version(server: LocalReplicate, _client: Replicate, number: int) -> object:
    source = f"def predict(text: str = {str(number)!r}) -> str:\n    return text\n"
    names: dict[str, Callable[..., str]] = {}
    exec(source, {"__name__": "model"}, names)  # the only way to five functions in a loop
    return server.add_model("acme/say", names["predict"])


async def make_example(server: LocalReplicate, _client: Replicate, number: int) -> object:
    examples = [{"text": str(n)} for n in range(number + 1)]
    return server.add_model("acme/say", say, examples=examples)


Make = Callable[[LocalReplicate, Replicate, int], Awaitable[object]]
LISTINGS: dict[str, tuple[Make, Callable[[Replicate], Paginator[Any]]]] = {
    "predictions.list": (make_predictions, lambda c: c.predictions.list()),
    "files.list": (make_file, lambda c: c.files.list()),
    "deployments.list": (make_deployment, lambda c: c.deployments.list()),
    "trainings.list": (make_training, lambda c: c.trainings.list()),
    "models.list": (make_model, lambda c: c.models.list()),
    "models.versions.list": (make_version, lambda c: c.models.versions.list("acme/say")),
    "models.examples.list": (make_example, lambda c: c.models.examples.list("acme/say")),
}


def identity(item: object) -> object:
    return getattr(item, "id", None) or f"{getattr(item, 'owner', '')}/{getattr(item, 'name', '')}"


@pytest.mark.parametrize("operation", LISTINGS)
async def test_a_listing_is_read_page_by_page(
    small_pages: tuple[LocalReplicate, Replicate], operation: str
) -> None:
    server, client = small_pages
    make, list_all = LISTINGS[operation]
    for number in range(COUNT):
        await make(server, client, number)

    listing = list_all(client)
    items = [identity(item) async for item in listing]
    pages = [item async for item in listing.pages()]

    total = COUNT + (len(BUILTINS) if operation == "models.list" else 0)
    assert len(items) == len(set(items)) == total
    assert [identity(item) for one in pages for item in one.results] == items
    assert [len(one.results) for one in pages] == [2] * (total // 2) + [1] * (total % 2)
    assert [one.next_url is None for one in pages] == [False] * (len(pages) - 1) + [True]
    assert [one.previous_url is None for one in pages] == [True] + [False] * (len(pages) - 1)


async def test_filters_hold_on_every_page(
    small_pages: tuple[LocalReplicate, Replicate],
) -> None:
    server, client = small_pages
    for number in range(COUNT):
        await make_predictions(server, client, number)
    newest = [item async for item in client.predictions.list()]
    assert newest[-1].created_at is not None
    server.advance(60)

    after = client.predictions.list(created_after=newest[-2].created_at)

    assert [item.id async for item in after] == [item.id for item in newest[:-1]]
    ascending = client.models.list(sort_by="model_created_at", sort_direction="asc")
    descending = client.models.list(sort_by="model_created_at")
    assert [m.name async for m in ascending] == [m.name async for m in descending][::-1]


async def test_new_items_do_not_shift_the_pages(
    small_pages: tuple[LocalReplicate, Replicate],
) -> None:
    server, client = small_pages
    for number in range(COUNT):
        await make_predictions(server, client, number)
    known = {item.id async for item in client.predictions.list()}

    seen: list[str] = []
    async for item in client.predictions.list():
        seen.append(item.id)
        await make_predictions(server, client, 9)

    assert len(seen) == COUNT
    assert set(seen) == known


Rest = dict[str, dict[str, object]]


def listing_server(pages: Callable[[FaultServer], Rest]) -> FaultServer:
    """Serve predictions.list: the first page under "", others by their query."""

    def answer(request: Request) -> Answer:
        path, _, query = request.target.partition("?")
        assert path in {"/v1/predictions", "/v1/predictions/"}
        return json_answer(pages(server)[query])

    server = FaultServer(answer)
    return server


def client_of(server: FaultServer) -> Replicate:
    return Replicate(TOKEN, base_url=server.url, limits=Limits(enabled=False))


def runs(server: FaultServer, *ids: str, next: str | None = None) -> dict[str, object]:
    return page(*(prediction(server.url, id=id) for id in ids), next=next)


E = TypeVar("E", bound=Exception)


async def ids_of(client: Replicate) -> list[str]:
    return [item.id async for item in client.predictions.list()]


async def ids_until(client: Replicate, error: type[E]) -> tuple[list[str], E]:
    """Read until *error* is raised; return it and the items before it."""
    seen: list[str] = []
    try:
        async for item in client.predictions.list():
            seen.append(item.id)  # noqa: PERF401 - a comprehension would lose the items before the error
    except error as caught:
        return seen, caught
    raise AssertionError(f"{error.__name__} was expected, and nothing was raised")


@pytest.mark.parametrize("end", [None, "", "null"])
async def test_the_last_page_has_three_forms(end: str | None) -> None:
    server = listing_server(lambda server: {"": runs(server, "a", "b", next=end)})
    async with server, client_of(server) as client:
        assert await ids_of(client) == ["a", "b"]

    assert len(server.requests) == 1


async def test_a_page_without_links_is_the_last() -> None:
    server = listing_server(lambda server: {"": {"results": [prediction(server.url, id="a")]}})
    async with server, client_of(server) as client:
        assert await ids_of(client) == ["a"]


@pytest.mark.parametrize(
    "link",
    [
        "{base}/predictions?cursor=2",
        "{base}/predictions/?cursor=2",
        "/v1/predictions?cursor=2",
    ],
)
async def test_the_next_page_is_one_of_the_same_listing(link: str) -> None:
    server = listing_server(
        lambda server: {
            "": runs(server, "a", next=link.format(base=server.url)),
            "cursor=2": runs(server, "b"),
        }
    )
    async with server, client_of(server) as client:
        assert await ids_of(client) == ["a", "b"]

    assert [request.target for request in server.requests] == [
        "/v1/predictions",
        "/v1/predictions?cursor=2",
    ]


async def test_a_cursor_travels_as_it_came() -> None:
    cursor = "cD0yMDIzLTExLTE1KzA1JTNBMDM%3D%2B&created_after=2026-01-01T00%3A00%3A00Z"
    server = listing_server(
        lambda server: {
            "": runs(server, "a", next=f"{server.url}/predictions?cursor={cursor}"),
            f"cursor={cursor}": runs(server, "b"),
        }
    )
    async with server, client_of(server) as client:
        assert await ids_of(client) == ["a", "b"]


async def test_a_page_at_another_address_is_not_requested() -> None:
    async with Stranger() as stranger:
        for link in (
            f"{stranger.url}/predictions?cursor=2",
            f"//127.0.0.1:{stranger.port}/v1/predictions?cursor=2",
            f"http://user@127.0.0.1:{stranger.port}/v1/predictions?cursor=2",
        ):
            server = FaultServer(_first_page_with(link))
            async with server, client_of(server) as client:
                seen, error = await ids_until(client, UntrustedURLError)
            assert seen == ["a"]
            assert error.url == link
            assert "it was not requested" in str(error)
            assert len(server.requests) == 1
        stranger.assert_untouched()


def _first_page_with(link: str) -> Handler:
    run = prediction("https://api.replicate.com/v1", id="a")
    return script(json_answer(page(run, next=link)))


@pytest.mark.parametrize(
    "path",
    ["/account?cursor=2", "/predictions/../account?cursor=2", "/predictions/abc/cancel", "?x"],
)
async def test_a_page_of_another_listing_is_not_requested(path: str) -> None:
    server = listing_server(lambda server: {"": runs(server, "a", next=f"{server.url}{path}")})
    async with server, client_of(server) as client:
        with pytest.raises(UntrustedURLError):
            await ids_of(client)

    assert len(server.requests) == 1


async def test_a_loop_of_pages_is_an_error() -> None:
    server = listing_server(
        lambda server: {
            "": runs(server, "a", next=f"{server.url}/predictions?cursor=2"),
            "cursor=2": runs(server, "b", next=f"{server.url}/predictions?cursor=3"),
            "cursor=3": runs(server, "c", next=f"{server.url}/predictions?cursor=2"),
        }
    )
    async with server, client_of(server) as client:
        seen, error = await ids_until(client, PaginationLoopError)

    assert seen == ["a", "b", "c"]
    assert len(server.requests) == 3
    assert str(error) == (
        "GET /predictions points back to a page that was already read ('cursor=2'); the listing "
        "stops here."
    )


async def test_a_first_page_that_names_itself_is_a_loop() -> None:
    server = listing_server(
        lambda server: {"": runs(server, "a", next=f"{server.url}/predictions")}
    )
    async with server, client_of(server) as client:
        with pytest.raises(PaginationLoopError):
            await ids_of(client)

    assert len(server.requests) == 1


async def test_an_empty_page_is_not_the_end() -> None:
    server = listing_server(
        lambda server: {
            "": runs(server, next=f"{server.url}/predictions?cursor=2"),
            "cursor=2": runs(server, "b"),
        }
    )
    async with server, client_of(server) as client:
        assert await ids_of(client) == ["b"]


async def test_pages_are_requested_as_they_are_read_and_each_loop_starts_again() -> None:
    server = listing_server(
        lambda server: {
            "": runs(server, "a", "b", next=f"{server.url}/predictions?cursor=2"),
            "cursor=2": runs(server, "c"),
        }
    )
    async with server, client_of(server) as client:
        listing = client.predictions.list()
        assert server.requests == []
        first = await anext(aiter(listing.pages()))
        assert len(first.results) == 2
        assert len(server.requests) == 1
        assert [item.id async for item in listing] == ["a", "b", "c"]
        assert [item.id async for item in listing] == ["a", "b", "c"]

    assert len(server.requests) == 5


async def test_an_invalid_cursor_is_not_found(client: Replicate, server: LocalReplicate) -> None:
    server.faults.add("predictions.list", status=404, body='{"detail": "Invalid cursor"}')

    with pytest.raises(NotFoundError, match="Invalid cursor"):
        await ids_of(client)


async def test_a_search_sends_its_text_for_every_page() -> None:
    def answer(request: Request) -> Answer:
        assert (request.method, request.body) == ("QUERY", "été & co".encode())
        assert request.header("content-type") == "text/plain"
        last = "cursor" in request.target
        return json_answer(page(next=None if last else f"{server.url}/models?cursor=2"))

    server = FaultServer(answer)
    async with server, client_of(server) as client:
        assert [item async for item in client.models.search("été & co")] == []

    assert [request.target for request in server.requests] == [
        "/v1/models",
        "/v1/models?cursor=2",
    ]


def test_a_listing_prints_what_it_lists() -> None:
    client = Replicate(TOKEN)

    assert repr(client.predictions.list()) == "<Paginator GET /predictions>"
    assert repr(client.models.search("x")) == "<Paginator QUERY /models>"
