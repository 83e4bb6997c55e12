from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from replicate_async import (
    ClientStateError,
    FileError,
    FileOutput,
    FileTooLargeError,
    OutputExpiredError,
    RedirectError,
    Replicate,
    Retry,
    TruncatedBodyError,
    UntrustedURLError,
)
from tests.files.hosts import CONTENT, Host, hosted, names_in
from tests.support.fault_server import FaultServer, script
from tests.support.replies import json_answer, prediction
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio

Way = Callable[[FileOutput, Path], Awaitable[bytes]]


async def read(file: FileOutput, folder: Path) -> bytes:
    return await file.read()


async def iterate(file: FileOutput, folder: Path) -> bytes:
    return b"".join([chunk async for chunk in file])


async def save(file: FileOutput, folder: Path) -> bytes:
    saved = await file.save(folder)
    data = saved.read_bytes()
    saved.unlink()
    assert not names_in(folder)
    return data


WAYS = pytest.mark.parametrize("way", [read, iterate, save])


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
async def test_the_rest_of_a_short_range_is_requested(way: Way, tmp_path: Path) -> None:
    host = Host(most=100_000)

    def by_pieces(request: Request) -> Answer:
        answer = host(request)
        if answer.status == 200:
            return answer
        start, part = host.starts[-1], answer.body[:70_000]
        span = f"bytes {start}-{start + len(part) - 1}/{len(CONTENT)}"
        return Answer(status=206, headers=(("Content-Range", span),), body=part)

    async with FaultServer(by_pieces) as server, Replicate(TOKEN, base_url=server.url) as client:
        file = FileOutput(f"{server.origin}/a.png").with_client(client)

        assert await way(file, tmp_path) == CONTENT
        assert host.starts == [0, 100_000, 170_000, 240_000]


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


async def test_a_compressed_answer_is_decompressed(tmp_path: Path) -> None:
    headers = (("Content-Encoding", "gzip"), ("ETag", '"a"'))
    async with hosted(Host(content=gzip.compress(CONTENT), headers=headers)) as (file, _, _):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT


@pytest.mark.parametrize("said", ["x-gzip", "X-GZIP", "aws-chunked, gzip", "identity,x-gzip"])
async def test_x_gzip_is_decompressed(said: str, tmp_path: Path) -> None:
    members = gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]) + bytes(64)
    async with hosted(Host(content=members, headers=(("Content-Encoding", said),))) as (file, *_):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT


@pytest.mark.parametrize(
    ("said", "times"),
    [
        (("aws-chunked", "gzip"), 1),
        (("gzip", "aws-chunked"), 1),
        (("identity", "x-gzip"), 1),
        (("x-gzip", ""), 1),
        (("aws-chunked", "utf-8"), 0),
        (("gzip", "gzip"), 2),
    ],
)
async def test_lines_of_content_encoding_count_together(
    said: tuple[str, ...], times: int, tmp_path: Path
) -> None:
    content = CONTENT
    for _ in range(times):
        content = gzip.compress(content)
    headers = tuple(("Content-Encoding", line) for line in said)
    async with hosted(Host(content=content, headers=headers)) as (file, *_):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT


@pytest.mark.parametrize("said", [("rot13", "gzip"), ("identity", "rot13"), ("rot13", "identity")])
async def test_a_line_that_names_an_unknown_encoding_is_an_error(said: tuple[str, ...]) -> None:
    headers = tuple(("Content-Encoding", line) for line in said)
    async with hosted(Host(content=gzip.compress(CONTENT), headers=headers)) as (file, *_):
        with caught(FileError) as raised:
            await file.read()

    assert "the unknown encoding" in str(raised.error)


async def test_truncated_gzip_is_an_error() -> None:
    packed = gzip.compress(CONTENT)[:-9]
    headers = (("Content-Encoding", "x-gzip"),)
    async with hosted(Host(content=packed, headers=headers, etag=None)) as (file, *_):
        with caught(TruncatedBodyError):
            await file.read()


async def test_invalid_gzip_is_an_error() -> None:
    async with hosted(Host(headers=(("Content-Encoding", "x-gzip"),))) as (file, *_):
        with caught(FileError) as raised:
            await file.read()

    assert "gzip" in str(raised.error)


@pytest.mark.parametrize(
    "said",
    ["", "aws-chunked", "identity, identity", "none", "Identity", "aws-chunked,", " , ", "UTF-8"],
)
async def test_encodings_that_change_nothing_are_ignored(said: str, tmp_path: Path) -> None:
    headers = (("Content-Encoding", said),)
    async with hosted(Host(headers=headers, most=100_000)) as (file, _, host):
        assert await save(file, tmp_path) == CONTENT
        assert await file.read() == CONTENT
        assert file.size == len(CONTENT)
        assert host.starts[:3] == [0, 100_000, 200_000], "plain bytes can be resumed"


@pytest.mark.parametrize("said", [pytest.param("gzip", marks=pytest.mark.slow), "x-gzip"])
async def test_a_gzip_bomb_is_stopped_early(said: str, tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    async with hosted(Host(content=bomb, headers=(("Content-Encoding", said),))) as (file, _, _):
        tracemalloc.start()
        try:
            with caught(FileTooLargeError) as raised:
                await save(file, tmp_path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert "decompressed" in str(raised.error)
    assert peak < 32 * 1024 * 1024
    assert not names_in(tmp_path)


async def test_an_unknown_encoding_is_an_error() -> None:
    async with hosted(Host(headers=(("Content-Encoding", "rot13"),))) as (file, _, _):
        with caught(FileError) as raised:
            await file.read()

    assert "rot13" in str(raised.error)


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
