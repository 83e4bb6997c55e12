"""Redirects of files: which are followed, and which of them get the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicate_async import FileOutput, RedirectError, Replicate, UntrustedURLError
from tests.files.hosts import names_in
from tests.support.fault_server import FaultServer, script
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b.png", "/out/b.png"),
        ("../b%2Fc.png?s=a%2Bb+c", "/b%2Fc.png?s=a%2Bb+c"),
        ("?signed=1", "/out/picture.png?signed=1"),
        ("//{host}/b.png", "/b.png"),
        ("./", "/out/"),
    ],
)
async def test_a_relative_redirect_is_resolved_against_the_requested_url(
    location: str, target: str
) -> None:
    def handler(request: Request) -> Answer:
        if request.target == "/out/picture.png":
            place = location.format(host=f"127.0.0.1:{server.port}")
            return Answer(status=302, headers=(("Location", place),))
        return Answer(body=request.target.encode())

    async with FaultServer(handler) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/out/picture.png").with_client(client)
        assert await file.read() == target.encode()


async def test_five_redirects_are_followed_and_a_loop_is_not(tmp_path: Path) -> None:
    def hops(request: Request) -> Answer:
        left = int(request.path.removeprefix("/"))
        if not left:
            return Answer(body=b"there")
        return Answer(status=302, headers=(("Location", f"/{left - 1}"),))

    async with FaultServer(hops) as server, Replicate(TOKEN, base_url=server.url) as client:
        assert await FileOutput(f"{server.origin}/5").with_client(client).read() == b"there"
        server.forget()
        with caught(RedirectError):
            await FileOutput(f"{server.origin}/6").with_client(client).save(tmp_path / "a")
        assert len(server.requests) == 6

        server.handler = script(Answer(status=307, headers=(("Location", "/1"),)))
        with caught(RedirectError):
            await FileOutput(f"{server.origin}/1").with_client(client).read()
        server.handler = script(Answer(status=302))
        with caught(RedirectError):
            await FileOutput(f"{server.origin}/1").with_client(client).read()

    assert not names_in(tmp_path)


@pytest.mark.parametrize(
    "location",
    [
        "http://a.example/x",
        "http://10.0.0.1/x",
        "ftp://a.example/x",
        "file:///etc/passwd",
        "//a.example/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/x",
        "https://router.local/x",
        "https://2130706433/x",
        "javascript:alert(1)",
    ],
)
async def test_a_redirect_to_a_private_address_is_not_followed(location: str) -> None:
    answer = Answer(status=302, headers=(("Location", location),))
    async with FaultServer(script(answer)) as server, Replicate(TOKEN, base_url=server.url) as c:
        file = FileOutput(f"{server.origin}/1").with_client(c)
        with caught(UntrustedURLError):
            await file.read()
        assert {request.path for request in server.requests} == {"/1"}


async def test_only_the_api_receives_the_token() -> None:
    async with (
        FaultServer(script(Answer(body=b"x"))) as stranger,
        FaultServer(script(Answer(body=b"x"))) as api,
        Replicate(TOKEN, base_url=api.url) as client,
    ):
        for url in (f"{stranger.origin}/v1/files/a", f"{api.origin}/out", f"{api.url}/files/a"):
            await FileOutput(url).with_client(client).read()
        api.handler = script(
            Answer(status=302, headers=(("Location", f"{stranger.origin}/v1/files/b"),)),
        )
        await FileOutput(f"{api.url}/files/b").with_client(client).read()
        stranger.handler = script(
            Answer(status=302, headers=(("Location", f"{api.url}/files/c"),)),
        )
        api.handler = script(Answer(body=b"x"))
        await FileOutput(f"{stranger.origin}/c").with_client(client).read()

        assert TOKEN.encode() not in stranger.received
        seen = {request.path: request.header("authorization") for request in api.requests}
        assert seen == {
            "/out": None,
            "/v1/files/a": f"Bearer {TOKEN}",
            "/v1/files/b": f"Bearer {TOKEN}",
            "/v1/files/c": None,
        }
