from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from replicate_async.errors import AmbiguousCreateError, RedirectError, ReplicateError
from tests.faults.calls import CREATES, HARMLESS_WRITES, READS, client_of
from tests.support.fault_server import FaultServer, Stranger
from tests.support.replies import json_answer, prediction, problem
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

STATUSES: Final = [301, 302, 303, 307, 308]

# {own} and {other} stand for host and port of the API and of a stranger.
OWN: Final = [
    "http://{own}/v1/predictions/final",
    "/v1/predictions/final",
    "//{own}/v1/predictions/final",
    "final",
    "../predictions/final",
]
FOREIGN: Final = [
    "http://{other}/v1/predictions/final",
    "//{other}/v1/predictions/final",
    "http://{own}@{other}/v1/predictions/final",
    "https://{own}/v1/predictions/final",
    "http://localhost:{port}/v1/predictions/final",
    "http://{own}.evil.example/final",
    "http://{other}\\@{own}/final",
    "http://{other}#@{own}/final",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "ftp://{own}/final",
    "data:application/json,{{}}",
    "",
    "http://",
    "http://[::1",
    "//[::1/final",
    "final#part",
    "\thttp://{other}/final",
    "http://{own}:99999/final",
]


def filled(template: str, server: FaultServer, other: FaultServer) -> str:
    return template.format(
        own=f"127.0.0.1:{server.port}", other=f"127.0.0.1:{other.port}", port=server.port
    )


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("template", OWN)
async def test_a_read_follows_a_redirect_on_its_own_origin(status: int, template: str) -> None:
    def handler(request: Request) -> Answer:
        if request.target.endswith("/final"):
            return json_answer(prediction(server.url, id="final"))
        return Answer(status=status, headers=(("Location", filled(template, server, server)),))

    async with FaultServer(handler) as server, client_of(server) as client:
        found = await client.predictions.get("abc")

    assert found.id == "final"
    assert [request.header("authorization") for request in server.requests] == [
        f"Bearer {TOKEN}"
    ] * 2


@pytest.mark.parametrize("path", ["/v1/a b/é", "http://{own}/v1/a b/é", "/v1/a%20b/é"])
async def test_a_location_that_is_not_escaped_is_followed(path: str) -> None:
    def handler(request: Request) -> Answer:
        if request.target == "/v1/a%20b/%C3%A9":
            return json_answer(prediction(server.url, id="final"))
        location = filled(path, server, server).encode()
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n"
        return Answer(raw=head % location)

    async with FaultServer(handler) as server, client_of(server) as client:
        assert (await client.predictions.get("abc")).id == "final"


@pytest.mark.parametrize(
    "location", ["/v1/é/%2e%2e/x", "//é@{own}/v1/x", "/v1/é\\x", "http://{other}/v1/é", "/v1/é//x"]
)
async def test_what_is_escaped_is_judged_all_the_same(location: str) -> None:
    def handler(_request: Request) -> Answer:
        place = filled(location, server, stranger).encode()
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n"
        return Answer(raw=head % place)

    async with (
        Stranger() as stranger,
        FaultServer(handler) as server,
        client_of(server) as client,
    ):
        with caught(RedirectError):
            await client.predictions.get("abc")
        stranger.assert_untouched()
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("template", FOREIGN)
async def test_no_redirect_leads_to_another_origin(status: int, template: str) -> None:
    def handler(_request: Request) -> Answer:
        location = filled(template, server, stranger)
        return Answer(status=status, headers=(("Location", location),))

    async with (
        Stranger() as stranger,
        FaultServer(handler) as server,
        client_of(server) as client,
    ):
        with caught(RedirectError) as found:
            await client.predictions.get("abc")
        stranger.assert_untouched()

    assert found.error.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", [*CREATES, "predictions.cancel", "files.delete"])
async def test_a_write_follows_no_redirect_at_all(status: int, name: str) -> None:
    def handler(_request: Request) -> Answer:
        return Answer(status=status, headers=(("Location", f"{server.url}/final"),), acts=False)

    async with FaultServer(handler) as server, client_of(server) as client:
        with caught(RedirectError) as found:
            await {**CREATES, **HARMLESS_WRITES}[name](client)

    assert len(server.requests) == 1
    # 303 means that the server has acted on the request; 307 and 308 mean that it has not.
    perhaps_done = name in CREATES and status not in {307, 308}
    assert isinstance(found.error, AmbiguousCreateError) == perhaps_done


async def test_a_redirect_that_leads_round_is_given_up() -> None:
    def handler(request: Request) -> Answer:
        return Answer(status=302, headers=(("Location", request.target),))

    async with FaultServer(handler) as server, client_of(server) as client:
        with caught(RedirectError):
            await client.predictions.get("abc")

    assert len(server.requests) == 4


@pytest.mark.parametrize("name", ["models.list", "search", "models.readme.get"])
async def test_a_redirect_without_a_location_is_an_error(name: str) -> None:
    bare = Answer(status=302)
    async with FaultServer(lambda _request: bare) as server, client_of(server) as client:
        with caught(RedirectError):
            await READS[name](client)

    assert len(server.requests) == 1


async def test_a_redirect_with_an_endless_body_is_not_read_to_its_end() -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    def handler(_request: Request) -> Answer:
        head = b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n"
        return Answer(raw=head, source=forever, ending=Ending.CLOSE)

    async with FaultServer(handler) as server, client_of(server) as client:
        with caught(ReplicateError):
            await client.predictions.get("abc")
        await server.until_idle()


async def test_a_read_that_is_repeated_begins_where_it_began() -> None:
    asked: list[str] = []

    def handler(request: Request) -> Answer:
        asked.append(request.path.rpartition("/")[2])
        if asked[-1] == "abc":
            target = f"/v1/predictions/{'broken' if len(asked) == 1 else 'final'}"
            return Answer(status=307, headers=(("Location", target),))
        if asked[-1] == "broken":
            return problem(503)
        return json_answer(prediction(server.url, id="final"))

    async with FaultServer(handler) as server, client_of(server) as client:
        assert (await client.predictions.get("abc")).id == "final"

    assert asked == ["abc", "broken", "abc", "final"]
