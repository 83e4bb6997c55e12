from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from replicate_async import (
    ClientStateError,
    FileError,
    FileOutput,
    FileTooLargeError,
    OutputExpiredError,
    Replicate,
    Retry,
    TruncatedBodyError,
)
from tests.files.hosts import CONTENT, Host, hosted, names_in
from tests.files.ways import WAYS, Way, iterate, read, save
from tests.support.fault_server import FaultServer, script
from tests.support.replies import json_answer, prediction
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Ending, Framing, Request

pytestmark = pytest.mark.anyio


@WAYS
async def test_a_file_is_fetched_with_few_headers_and_no_token(way: Way, tmp_path: Path) -> None:
    async with hosted() as (file, server, _):
        assert await way(file, tmp_path) == CONTENT

        assert (file.size, file.content_type) == (len(CONTENT), "image/png")
        names = {name for name, _ in server.requests[0].headers}
        assert names == {"host", "accept", "accept-encoding", "user-agent"}
        assert server.requests[0].header("accept-encoding") == "identity"


@WAYS
async def test_a_connection_that_breaks_every_4_kb_is_resumed(way: Way, tmp_path: Path) -> None:
    async with hosted(Host(most=4096)) as (file, _, host):
        assert await way(file, tmp_path) == CONTENT

        assert host.starts[:3] == [0, 4096, 8192]
        assert len(host.starts) == -(-len(CONTENT) // 4096)


@WAYS
@pytest.mark.parametrize("cut", [0, 9, 60, 150, 1000, 65_536, 299_999, 300_100])
@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_a_connection_cut_anywhere_is_resumed(
    way: Way, cut: int, ending: Ending, tmp_path: Path
) -> None:
    host = Host()
    broken = False

    def once(request: Request) -> Answer:
        nonlocal broken
        answer = host(request)
        if broken:
            return answer
        broken = True
        return Answer(headers=answer.headers, body=answer.body, cut=cut, ending=ending)

    async with (
        FaultServer(once) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(base=0.0)) as client,
    ):
        file = FileOutput(f"{server.origin}/a.png").with_client(client)
        assert await way(file, tmp_path) == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"', "bare"])
@pytest.mark.parametrize("way", [read, save])
async def test_a_download_that_cannot_be_resumed_starts_again(
    way: Way, etag: str | None, tmp_path: Path
) -> None:
    host = Host(etag=etag, most=100_000)

    def second_whole(request: Request) -> Answer:
        answer = host(request)
        host.most = None
        return answer

    async with FaultServer(second_whole) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await way(file, tmp_path) == CONTENT
        assert [request.header("range") for request in server.requests] == [None, None]


@pytest.mark.parametrize("way", [read, save])
async def test_a_file_that_changes_during_the_download_is_read_in_its_new_version(
    way: Way, tmp_path: Path
) -> None:
    host = Host(most=100_000)

    def changing(request: Request) -> Answer:
        if request.header("range"):
            host.content, host.etag, host.most = b"new", '"v2"', None
        return host(request)

    async with FaultServer(changing) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await way(file, tmp_path) == b"new"
        assert file.size == 3


async def test_iterating_cannot_start_again(tmp_path: Path) -> None:
    async with hosted(Host(etag=None, most=100_000)) as (file, _, _):
        with caught(FileError) as raised:
            await iterate(file, tmp_path)

    assert "start again" in str(raised.error)


@WAYS
async def test_a_host_without_ranges_is_read_again_up_to_the_break(
    way: Way, tmp_path: Path
) -> None:
    host = Host(ranges=False, most=100_000)

    def growing(request: Request) -> Answer:
        answer = host(request)
        host.most = (host.most or 0) + 100_000
        return answer

    async with FaultServer(growing) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await way(file, tmp_path) == CONTENT
        assert host.starts == [0, 0, 0]


@pytest.mark.parametrize("way", [iterate, save])
async def test_a_body_that_is_always_short_is_an_error_and_leaves_nothing(
    way: Way, tmp_path: Path
) -> None:
    short = Answer(headers=(("ETag", '"a"'),), body=CONTENT, cut=2000, ending=Ending.CLOSE)

    def shorter(request: Request) -> Answer:
        if request.header("range"):
            return Answer(status=503)
        return short

    async with (
        FaultServer(shorter) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        file = FileOutput(f"{server.origin}/a.png").with_client(client)
        with caught(FileError):
            await way(file, tmp_path)
        server.handler = script(short)
        with caught(TruncatedBodyError):
            await way(file, tmp_path)

    assert not names_in(tmp_path)


@pytest.mark.parametrize(
    "span", ["bytes 5-9/10", "bytes 0-9/10", "bytes */10", "bytes 4096-9/x", "items 4096-1/2", ""]
)
async def test_a_wrong_range_is_refused(span: str, tmp_path: Path) -> None:
    host = Host(most=4096)

    def confused(request: Request) -> Answer:
        if request.header("range"):
            host.most = None
            return Answer(status=206, headers=(("Content-Range", span),), body=b"x" * 10)
        return host(request)

    async with FaultServer(confused) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await read(file, tmp_path) == CONTENT
        assert [bool(request.header("range")) for request in server.requests] == [0, 1, 0]


async def test_a_range_without_a_range_request_is_an_error(tmp_path: Path) -> None:
    odd = Host(headers=(("Content-Range", "bytes 5-9/10"),))

    def partial(request: Request) -> Answer:
        answer = odd(request)
        return Answer(status=206, headers=answer.headers, body=b"abcde")

    async with FaultServer(partial) as server, Replicate(TOKEN, base_url=server.url) as client:
        with caught(FileError):
            await FileOutput(f"{server.origin}/a.png").with_client(client).read()


@WAYS
@pytest.mark.parametrize(
    ("framing", "total"), [("length", len(CONTENT)), ("length", "*"), ("chunked", "*")]
)
async def test_the_rest_of_a_short_range_is_requested(
    way: Way, framing: Framing, total: object, tmp_path: Path
) -> None:
    host = Host(most=100_000)

    def by_pieces(request: Request) -> Answer:
        answer = host(request)
        if answer.status != 206:
            return replace(answer, framing=framing)
        start, part = host.starts[-1], answer.body[:70_000]
        span = f"bytes {start}-{start + len(part) - 1}/{total}"
        return Answer(status=206, headers=(("Content-Range", span),), body=part)

    async with FaultServer(by_pieces) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await way(file, tmp_path) == CONTENT
        assert host.starts[0] == 0
        assert [at - host.starts[1] for at in host.starts[1:4]] == [0, 70_000, 140_000]


@pytest.mark.parametrize(("way", "etag"), [(iterate, '"v1"'), (read, None), (save, '"v1"')])
@pytest.mark.parametrize("total", [len(CONTENT), "*"])
async def test_a_part_that_was_not_asked_for_begins_the_file(
    way: Way, etag: str | None, total: object, tmp_path: Path
) -> None:
    host = Host(etag=etag, most=100_000)

    def by_parts(request: Request) -> Answer:
        answer = host(request)
        host.most = None
        if answer.status == 416:
            return answer
        span = f"bytes {host.starts[-1]}-{len(CONTENT) - 1}/{total}"
        headers = (*answer.headers, ("Content-Range", span))
        return replace(answer, status=206, headers=headers)

    async with FaultServer(by_parts) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await way(file, tmp_path) == CONTENT
        assert len(host.starts) <= 3


@WAYS
async def test_an_empty_file_is_downloaded(way: Way, tmp_path: Path) -> None:
    async with hosted(Host(content=b"")) as (file, _, _):
        assert await way(file, tmp_path) == b""
        assert file.size == 0


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_file_of_unknown_length_is_read_to_its_end(framing: str, tmp_path: Path) -> None:
    answer = Answer(body=CONTENT, framing="chunked" if framing == "chunked" else "close")
    async with FaultServer(script(answer)) as server, Replicate(TOKEN, base_url=server.url) as c:
        file = FileOutput(f"{server.origin}/a").with_client(c)

        assert await save(file, tmp_path) == CONTENT


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_file_larger_than_allowed_is_not_read_to_its_end(
    framing: str, tmp_path: Path
) -> None:
    answer = Answer(body=CONTENT, framing="length" if framing == "length" else "chunked")
    async with FaultServer(script(answer)) as server, Replicate(TOKEN, base_url=server.url) as c:
        file = FileOutput(f"{server.origin}/a").with_client(c)
        with caught(FileTooLargeError):
            await file.read(max_size=100_000)
        with caught(FileTooLargeError) as raised:
            await file.save(tmp_path / "a", max_size=100_000)
        assert raised.error.path == tmp_path / "a"
        assert await file.read(max_size=len(CONTENT)) == CONTENT

    assert not names_in(tmp_path)


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("output", ["fresh", "same", "gone", "removed", "no url"])
async def test_an_expired_url_is_looked_up_once(status: int, output: str) -> None:
    gone = "/old.png"

    def service(request: Request) -> Answer:
        if request.path == gone:
            return Answer(status=status)
        if request.path == "/new.png":
            return Answer(body=b"fresh")
        if output == "gone":
            return Answer(status=404, body=b"{}")
        old = f"{server.origin}{gone}"
        urls = {"fresh": f"{server.origin}/new.png", "same": old, "no url": 3, "removed": None}
        return json_answer(prediction(server.url, output=[urls[output]]))

    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        known = prediction(server.url, output=[f"{server.origin}{gone}"])
        server.handler = script(json_answer(known))
        [file] = client.parse_output(await client.predictions.get("abc"))
        server.handler = service
        server.forget()
        if output == "fresh":
            assert await file.read() == b"fresh"
        else:
            with caught(OutputExpiredError):
                await file.read()

        looked_up = [r for r in server.requests if r.path.startswith("/v1/predictions/")]
        assert len(looked_up) == 1
        assert str(file).endswith(gone)


async def test_a_second_expired_url_is_an_error() -> None:
    def service(request: Request) -> Answer:
        if request.path.endswith(".png"):
            return Answer(status=404)
        return json_answer(prediction(server.url, output=f"{server.origin}/{len(lookups)}.png"))

    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        lookups = [1]
        file = client.parse_output(await client.predictions.get("abc"))
        lookups.append(2)
        with caught(OutputExpiredError):
            await file.read()


@pytest.mark.parametrize("status", [400, 401, 416, 418, 204])
async def test_any_other_status_is_named_in_the_error(status: int) -> None:
    answer = Answer(status=status)
    async with FaultServer(script(answer)) as server, Replicate(TOKEN, base_url=server.url) as c:
        with caught(FileError) as raised:
            await FileOutput(f"{server.origin}/a?signature=secret").with_client(c).read()

    assert str(status) in str(raised.error) or status == 416
    assert "signature" not in str(raised.error)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_5xx_is_retried(status: int) -> None:
    answers = script(Answer(status=status), Answer(status=status), Answer(body=b"x"))
    retry = Retry(base=0.0, throttle_base=0.0)
    async with (
        FaultServer(answers) as server,
        Replicate(TOKEN, base_url=server.url, retry=retry) as client,
    ):
        assert await FileOutput(f"{server.origin}/a").with_client(client).read() == b"x"
        server.handler = script(Answer(status=status))
        with caught(FileError) as raised:
            await FileOutput(f"{server.origin}/a").with_client(client).read()

    assert str(status) in str(raised.error)


async def test_a_file_without_a_client_says_how_to_set_one() -> None:
    with caught(ClientStateError) as raised:
        await FileOutput("https://replicate.delivery/a.png").read()

    assert "with_client" in str(raised.error)


async def test_a_loop_that_is_left_early_closes_the_connection() -> None:
    endless = Answer(body=bytes(50_000_000))
    async with FaultServer(script(endless)) as server, Replicate(TOKEN, base_url=server.url) as c:
        chunks = FileOutput(f"{server.origin}/a").with_client(c).__aiter__()
        async for _ in chunks:
            break
        del chunks

        await server.until_idle()
