"""Lost creates of inputs with files: a run is taken for ours only if its files are ours."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from replicate_async.runs.batch import reconcile
from tests.runs.batch.api import BatchAPI
from tests.runs.batch.resuming import Input, intents, run
from tests.support.replies import json_answer, problem
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


@dataclass
class FilesAPI(BatchAPI):
    """An API that takes uploads, too."""

    uploads: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    asked: list[str] = field(default_factory=list[str])
    """Uploads that were asked for."""

    def _answer(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1/")
        if request.method == "POST" and path == "files":
            body = request.body.partition(b"\r\n\r\n")[2]
            return json_answer(self.upload(body.rpartition(b"\r\n--")[0]), 201)
        if path.startswith("files/"):
            self.asked.append(path)
            found = self.uploads.get(path.removeprefix("files/"))
            return problem(404) if found is None else json_answer(found)
        return super()._answer(request)

    def upload(self, content: bytes) -> dict[str, Any]:
        name = f"f{len(self.uploads):07d}"
        found = self.uploads[name] = {
            "id": name,
            "checksums": {"sha256": sha256(content).hexdigest()},
            "urls": {"get": f"https://api.replicate.com/v1/files/{name}"},
        }
        return found

    def url(self, content: bytes) -> str:
        url: str = self.upload(content)["urls"]["get"]
        return url


def data_url(content: bytes) -> str:
    return f"data:application/octet-stream;base64,{b64encode(content).decode()}"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def one_key(given: object) -> str:
    return str(given) and "a"


def files(folder: Path, contents: list[bytes]) -> list[Input]:
    given: list[Input] = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.bin"
        path.write_bytes(content)
        given.append({"image": path})
    return given


LARGE = 300_000  # bytes, so that it is uploaded


@pytest.mark.parametrize("match", ["input", "key"])
async def test_a_run_whose_file_cannot_be_compared_is_not_taken(
    journal: Path, tmp_path: Path, match: str
) -> None:
    api = FilesAPI(lose=lambda number: number == 1)
    given = files(tmp_path, [b"ours"])
    options: dict[str, Any] = {"match": "key", "key": one_key} if match == "key" else {}
    api.altered = lambda _: {"image": "https://elsewhere.example/other.png"}

    (lost,) = await run(api, given, journal, **options)
    (again,) = await run(api, given, journal, **options)

    assert [lost.uncertain, again.uncertain] == [True, True]
    assert api.creates == 1


async def test_a_url_of_another_place_is_not_taken_by_key(journal: Path) -> None:
    api = FilesAPI(lose=lambda _: True, listing=lambda _: problem(403))
    options: dict[str, Any] = {"match": "key", "key": one_key}
    url = "https://bucket.example/ours.png?signature="
    (lost,) = await run(api, [{"image": url + "1"}], journal, **options)
    api.listing = None
    api.made[0].shown = {"input": {"image": "https://bucket.example/foreign.png"}}

    (foreign,) = await run(api, [{"image": url + "2"}], journal, **options)
    api.made[0].shown = {}
    (ours,) = await run(api, [{"image": url + "3"}], journal, **options)

    assert [lost.uncertain, foreign.uncertain] == [True, True]
    assert ours.ok
    assert api.creates == 1


@pytest.mark.parametrize(
    ("size", "foreign"),
    [(8, "data"), (200_000, "data"), (LARGE, "data"), (LARGE, "upload")],
)
async def test_lost_creates_with_files_are_told_from_other_runs_of_the_model(
    journal: Path, tmp_path: Path, size: int, foreign: str
) -> None:
    """A lost answer, a create that did not happen, and foreign runs of other files."""
    contents = [f"{number:08}".encode().ljust(size, b"x") for number in range(8)]
    api = FilesAPI(lose=lambda number: number in {2, 5})
    api.refuse = lambda number: problem(502) if number in {3, 4} else None
    for number in range(100):
        other = f"{1000 + number:08}".encode().ljust(size, b"y")
        api.make({"image": data_url(other[:200]) if foreign == "data" else api.url(other)})

    results = await run(api, files(tmp_path, contents), journal)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert len(api.made) == 108
    assert api.twice("image") == []


@pytest.mark.parametrize("size", [8, 200_000, LARGE, 1_100_000])
async def test_a_resume_finds_the_run_of_its_file(journal: Path, tmp_path: Path, size: int) -> None:
    contents = [f"{number:08}".encode().ljust(size, b"x") for number in range(3)]
    given = files(tmp_path, contents)
    await intents(journal, given)
    api = FilesAPI()

    def sent(content: bytes) -> Input:
        return {"image": data_url(content) if size < LARGE else api.url(content)}

    api.make(sent(b"another".ljust(size, b"x")))
    found = api.make(sent(contents[1]))
    api.make(sent(b"yet another".ljust(size, b"x")))

    results = await run(api, given, journal)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert results[1].prediction is not None
    assert results[1].prediction.id == found.id
    assert api.creates == 2


async def test_a_data_url_that_is_cut_is_uncertain(journal: Path, tmp_path: Path) -> None:
    given = files(tmp_path, [bytes(range(256)) * 4])
    await intents(journal, given)
    api = FilesAPI()
    for cut in (100, 101, 400):
        api.make({"image": data_url(bytes(range(256)) * 4)[:cut]})

    (result,) = await run(api, given, journal)

    assert result.uncertain
    assert api.creates == 0


async def test_the_uploads_that_are_looked_into_are_bounded(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_MAX_CHECKSUMS", 1)
    given = files(tmp_path, [b"ours".ljust(LARGE, b"x")])
    await intents(journal, given)
    api = FilesAPI()
    for number in range(100):
        api.make({"image": api.url(b"another %d" % number)})

    (result,) = await run(api, given, journal)

    assert result.uncertain
    assert api.creates == 0
    assert len(api.asked) < 100
