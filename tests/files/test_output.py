from __future__ import annotations

import base64
import copy
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_async import (
    ClientStateError,
    DecodeError,
    FileOutput,
    InvalidArgumentError,
    OutputEvent,
    Replicate,
    Retry,
)
from replicate_async.context import context_of
from replicate_async.files.notebook import LARGEST_SHOWN, mimebundle
from replicate_async.local import LocalReplicate
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.schemas import Prediction
from tests.files.hosts import CONTENT, Host, hosted
from tests.support.fault_server import FaultServer
from tests.support.replies import VERSION_ID, json_answer, prediction
from tests.support.sentinel import TOKEN, assert_opaque, caught

pytestmark = pytest.mark.anyio

DELIVERED = "https://replicate.delivery/x/out-0.png"
SMALL = {"count": 2, "size": 8}


def shown_of(file: FileOutput) -> dict[str, str]:
    return file._repr_mimebundle_()  # pyright: ignore[reportPrivateUsage] - what a notebook calls


class Album(msgspec.Struct, frozen=True):
    cover: FileOutput
    title: str


def test_completion_shows_what_users_call() -> None:
    public = [name for name in dir(FileOutput) if not name.startswith("_")]

    assert public == ["content_type", "data", "name", "read", "save", "size", "url", "with_client"]


async def test_a_run_returns_files_or_with_files_false_strings(client: Replicate) -> None:
    files = await client.run("local/frames", SMALL)
    strings = await client.run("local/frames", SMALL, files=False)

    assert [type(file) for file in files] == [FileOutput, FileOutput]
    assert [type(url) for url in strings] == [str, str]
    assert (await files[1].read())[:4] == b"\x89PNG"
    assert [file.name for file in files] == ["frame-0.png", "frame-1.png"]


async def test_text_is_returned_unchanged(client: Replicate) -> None:
    text = "https://replicate.delivery/x is where it was"

    assert await client.run("replicate/hello-world", {"text": text}) == f"hello {text}"


async def test_a_run_is_decoded_with_files_where_the_type_has_them(client: Replicate) -> None:
    file = await client.run("local/mandelbrot", {"width": 16, "height": 16}, type=FileOutput)
    files = await client.run("local/frames", SMALL, type=list[FileOutput])
    url = await client.run("local/mandelbrot", {"width": 16, "height": 16}, type=str)

    assert await file.read()
    assert len(files) == 2
    assert url.startswith("http://127.0.0.1")
    with caught(DecodeError):
        await client.run("local/frames", SMALL, type=FileOutput)
    with caught(DecodeError):
        await client.run("local/frames", SMALL, type=dict[str, FileOutput])
    with caught(InvalidArgumentError):
        await client.run("local/frames", SMALL, type=FileOutput | str)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - a union is no type


async def test_a_file_inside_a_struct_knows_its_place() -> None:
    def service(_request: object) -> Any:
        output = {"cover": f"{server.origin}/{len(server.requests)}.png", "title": "A"}
        return json_answer(prediction(server.url, output=output))

    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        made = await client.predictions.get("abc")
        album = PredictionCalls(context_of(client)).files.output_as(made, Album)

        assert album.title == "A"
        assert album.cover == FileOutput(f"{server.origin}/1.png")
        with pytest.raises(msgspec.ValidationError):
            PredictionCalls(context_of(client)).files.output_as(made, dict[str, int])


@pytest.mark.parametrize("known", ["given", "looked up"])
async def test_the_schema_of_the_model_says_what_is_a_file(known: str) -> None:
    uri = {"type": "string", "format": "uri"}
    schema = {"components": {"schemas": {"Output": {"type": "array", "items": uri}}}}
    version = {"id": VERSION_ID, "created_at": "2026-01-01T00:00:00Z", "openapi_schema": schema}
    model = {"owner": "acme", "name": "echo", "latest_version": version}
    output = ["https://a.example/x.png", "text"]

    def service(request: Any) -> Any:
        if request.path == "/v1/models/acme/echo/predictions":
            return json_answer({"detail": "no"}, 404)
        if request.path == "/v1/models/acme/echo":
            return json_answer(model)
        if request.path.endswith(VERSION_ID):
            return json_answer(version)
        return json_answer(prediction(server.url, output=output), 201)

    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        made = await client.predictions.get("abc")
        assert client.parse_output(made) == output
        if known == "given":
            found = client.parse_output(
                made, version=await client.models.versions.get("acme/echo", VERSION_ID)
            )
        else:
            await client.predictions.create("acme/echo", {})
            found = client.with_options(timeout=3).parse_output(made)

    assert found == [FileOutput("https://a.example/x.png"), "text"]


async def test_a_stream_of_files_gives_files(client: Replicate, server: LocalReplicate) -> None:
    async with client.stream("local/frames", {"count": 4, "size": 8}) as stream:
        events = [event async for event in stream if isinstance(event, OutputEvent)]
        final = await stream.final()
    async with client.predictions.stream(final) as again:
        texts = [text async for text in again.text()]

    files = [event.data for event in events if isinstance(event.data, FileOutput)]
    assert [str(event) for event in events] == [str(file) for file in files] == final.output
    assert texts == final.output
    for file in files:
        assert await file.read()


async def test_a_second_loop_over_files_keeps_their_places() -> None:
    def service(request: Any) -> Any:
        if request.path.endswith(".png"):
            return json_answer({}, 404) if "old" in request.path else script_body(request.path)
        output = [f"{server.origin}/new-{number}.png" for number in range(3)]
        return json_answer(prediction(server.url, output=output))

    def script_body(path: str) -> Any:
        return json_answer(path)

    async with (
        FaultServer(service) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        old = [f"{server.origin}/old-{number}.png" for number in range(3)]
        known = msgspec.convert(prediction(server.url, output=old), Prediction, strict=False)
        files: list[FileOutput] = []
        async with client.predictions.stream(known) as stream:
            for _ in range(3):
                async for event in stream:
                    if isinstance(event, OutputEvent) and isinstance(event.data, FileOutput):
                        files.append(event.data)
                        break

        assert [str(file) for file in files] == old
        for number, file in enumerate(files):
            assert await file.read() == f'"/new-{number}.png"'.encode()


async def test_a_pickled_file_keeps_its_state_and_needs_a_client(tmp_path: Path) -> None:
    host = Host(
        headers=(
            ("Content-Type", "image/webp"),
            ("Content-Disposition", 'attachment; filename="A picture.webp"'),
        )
    )
    async with hosted(host) as (file, server, _host):
        before = pickle.loads(pickle.dumps(file))
        await file.read()
        after = pickle.loads(pickle.dumps(file))
        assert_opaque(file, "a file")

        with caught(ClientStateError):
            await before.read()
        with caught(ClientStateError):
            await before.save(tmp_path)
        async with Replicate(TOKEN, base_url=server.url) as another:
            assert await before.with_client(another).read() == CONTENT

    assert (after.name, after.size, after.content_type, after.data) == (
        "A picture.webp",
        len(CONTENT),
        "image/webp",
        CONTENT,
    )
    assert before == after == file == copy.deepcopy(file)
    assert len({before, after, file, copy.copy(file)}) == 1
    assert file != file.url
    assert (await after.save(tmp_path)).read_bytes() == CONTENT


def test_a_notebook_links_a_file_that_was_not_read() -> None:
    bundle = shown_of(FileOutput(f"{DELIVERED}?a=<b>&c=%22"))

    assert bundle["text/plain"] == f"<FileOutput '{DELIVERED}'>"
    assert bundle["text/html"] == (
        f'<a href="{DELIVERED}?a=&lt;b&gt;&amp;c=%22" rel="noopener noreferrer">'
        f'<img src="{DELIVERED}?a=&lt;b&gt;&amp;c=%22" alt="out-0.png" '
        'referrerpolicy="no-referrer"></a>'
    )
    assert "<img" not in shown_of(FileOutput("https://a.example/x.bin"))["text/html"]
    assert set(shown_of(FileOutput("http://127.0.0.1/x.png"))) == {"text/plain"}
    assert set(shown_of(FileOutput("javascript:alert(1)"))) == {"text/plain"}


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image/png", {"image/png": base64.b64encode(b"x").decode()}),
        ("image/jpeg; q=1", {"image/jpeg": base64.b64encode(b"x").decode()}),
        ("image/webp", {"text/html": '<img src="data:image/webp;base64,eA==" alt="&lt;n&gt;">'}),
        (
            "image/svg+xml",
            {"text/html": '<img src="data:image/svg+xml;base64,eA==" alt="&lt;n&gt;">'},
        ),
        (
            "audio/mpeg",
            {
                "text/html": '<audio controls src="data:audio/mpeg;base64,eA==" title="&lt;n&gt;">'
                "</audio>"
            },
        ),
        (
            "video/mp4",
            {
                "text/html": '<video controls src="data:video/mp4;base64,eA==" title="&lt;n&gt;">'
                "</video>"
            },
        ),
        ("text/html", {}),
        ('image/"><script>', {}),
        (None, {}),
    ],
)
def test_a_notebook_embeds_a_file_that_was_read(kind: str | None, shown: dict[str, str]) -> None:
    bundle = mimebundle("data:,", "<n>", kind, b"x", "text")

    assert bundle == {"text/plain": "text", **shown}


def test_a_notebook_links_a_large_file() -> None:
    bundle = mimebundle(DELIVERED, "n", "image/png", bytes(LARGEST_SHOWN + 1), "text")

    assert bundle["text/html"] == f'<a href="{DELIVERED}" rel="noopener noreferrer">n</a>'


@pytest.mark.parametrize("url", [None, ["https://replicate.delivery/a.png"], b"https://a.png"])
def test_an_output_file_is_made_of_one_url(url: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^url=.* is a \w+; pass a str\.$"):
        FileOutput(url)
