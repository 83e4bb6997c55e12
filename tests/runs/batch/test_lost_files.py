"""Lost creates of inputs with files: a run is taken for ours only if its files are ours."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from replicate_async import Secret
from replicate_async.runs.batch.journal import State
from tests.runs.batch.api import BatchAPI, Made
from tests.runs.batch.resuming import Input, intents, run, states
from tests.support.replies import json_answer, problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


@dataclass
class FilesAPI(BatchAPI):
    """An API that takes uploads, too."""

    uploads: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    def _answer(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1/")
        if request.method == "POST" and path == "files":
            body = request.body.partition(b"\r\n\r\n")[2]
            return json_answer(self.upload(body.rpartition(b"\r\n--")[0]), 201)
        if path.startswith("files/"):
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


def name_of(given: Any) -> str:
    return str(given["image"].name)


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
    """The values differ at each run; the lookup compares the values that were sent."""
    api = FilesAPI(lose=lambda _: True, listing=lambda _: problem(403))
    options: dict[str, Any] = {"match": "key", "key": one_key}
    url = "https://bucket.example/ours.png?signature="
    (lost,) = await run(api, [{"image": url + "1"}], journal, **options)
    api.listing = None
    foreign = [api.make({"image": "https://bucket.example/foreign.png"}) for _ in range(3)]
    foreign.append(api.make({"image": url + "2"}))

    (ours,) = await run(api, [{"image": url + "2"}], journal, **options)

    assert lost.uncertain
    assert ours.prediction is not None
    assert ours.prediction.id == api.made[0].id
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
    """Its file has changed since, so that only what was sent can be compared."""
    contents = [f"{number:08}".encode().ljust(size, b"x") for number in range(3)]
    api = FilesAPI()

    def sent(content: bytes) -> Input:
        return {"image": data_url(content) if size < LARGE else api.url(content)}

    as_sent = [sent(content) for content in contents]
    given = files(tmp_path, contents)
    await intents(journal, given, sent=as_sent)
    api.make(sent(b"another".ljust(size, b"x")))
    found = api.make(as_sent[1])
    api.make(sent(b"yet another".ljust(size, b"x")))

    results = await run(api, given, journal)

    assert all(result.ok for result in results), [str(result.error) for result in results]
    assert results[1].prediction is not None
    assert results[1].prediction.id == found.id
    assert api.creates == 2


@pytest.mark.parametrize("size", [20, LARGE])
async def test_a_lost_create_is_found_though_its_file_is_another_now(
    journal: Path, tmp_path: Path, size: int
) -> None:
    api = FilesAPI(lose=lambda _: True, listing=lambda _: problem(403))
    given = files(tmp_path, [b"a" * size, b"b" * size])
    options: dict[str, Any] = {"match": "key", "key": name_of}
    await run(api, given, journal, **options)
    api.listing = None
    files(tmp_path, [b"changed", b"changed"])

    results = await run(api, given, journal, **options)

    assert [result.prediction and result.prediction.id for result in results] == [
        made.id for made in sorted(api.made, key=lambda made: str(made.input["image"]))
    ]
    assert api.creates == 2


async def test_a_data_url_that_is_cut_is_uncertain(journal: Path, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4
    given = files(tmp_path, [content])
    await intents(journal, given, sent=[{"image": data_url(content)}])
    api = FilesAPI()
    for cut in (100, 101, 400):
        api.make({"image": data_url(content)[:cut]})

    (result,) = await run(api, given, journal)

    assert result.uncertain
    assert api.creates == 0


def no_output(made: Made) -> None:
    made.output = None


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_sent_input_is_in_the_journal_until_its_outcome_is_known(journal: Path) -> None:
    """Of its files there are a digest and the first kilobyte."""
    secret, content = "x" * 20_000 + "a secret of the model's", b"head" + b"x" * 2000 + b"tail"
    given: list[Input] = [{"key": secret, "image": content}]
    api = FilesAPI(lose=lambda _: True, listing=lambda _: problem(403))
    api.outcome = no_output

    (lost,) = await run(api, given, journal)
    while_open = content_of(journal)
    api.listing = None
    (found,) = await run(api, given, journal)

    assert lost.uncertain
    assert secret[-23:].encode() in while_open
    assert b64encode(b"x" * 1200) not in while_open
    assert found.ok
    assert secret[-23:].encode() not in content_of(journal)
    assert api.creates == 1


async def test_a_secret_is_never_in_the_journal(journal: Path) -> None:
    """The API shows it as asterisks, so that its create can be told only from other inputs."""
    given: list[Input] = [{"n": 1, "key": Secret("a secret of the model's")}, {"n": 2}]
    api = FilesAPI(lose=lambda _: True, listing=lambda _: problem(403))
    api.outcome = no_output

    lost = await run(api, given, journal)
    while_open = content_of(journal)
    api.listing = None
    api.altered = lambda shown: {**shown, "key": "******"} if "key" in shown else shown
    results = await run(api, given, journal)

    assert [result.uncertain for result in lost] == [True, True]
    assert b"secret of" not in while_open
    assert [result.uncertain for result in results] == [True, False]
    assert api.creates == 2


async def test_an_input_with_the_api_token_is_not_in_the_journal(journal: Path) -> None:
    """So its lost create cannot be told from others."""
    api = FilesAPI(lose=lambda _: True)

    (result,) = await run(api, [{"key": f"Bearer {TOKEN}"}], journal)

    assert result.uncertain
    assert await states(journal) == {State.UNCERTAIN: 1}
    assert TOKEN.encode() not in content_of(journal)
    assert TOKEN not in str(result.error)
    assert api.creates == 1
