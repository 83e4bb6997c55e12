"""The intent of a create is recorded when its permit is there and its files are sent."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from replicate_async import BatchResult, Limits, NotFoundError, Replicate, Retry
from replicate_async.core.limits import BucketName
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal import JournalHeader, State
from replicate_async.runs.batch.journal.reader import status
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.resuming import run
from tests.support.embedded import until
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, model, problem, version
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


class Gate:
    """A limiter that lets a create through when it is told to."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(0)
        self.asked = 0
        self.penalties: list[tuple[str, float]] = []

    async def acquire(self, kind: BucketName) -> None:
        if kind == "create":
            self.asked += 1
            await self.permits.acquire()

    def on_rate_limited(
        self, kind: BucketName, seconds: float, per_minute: float | None = None
    ) -> None:
        del per_minute
        self.penalties.append((kind, seconds))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@asynccontextmanager
async def gated(api: BatchAPI, gate: Gate) -> AsyncGenerator[Replicate]:
    async with api.server() as server, client_of(server.url) as client:
        yield client.with_options(limiter=gate)


def counts(journal: Path) -> dict[State, int]:
    return {state: count for state, count in status(journal).counts.items() if count}


def given(count: int) -> list[dict[str, object]]:
    return [{"n": n} for n in range(count)]


async def test_there_is_no_intent_while_a_permit_is_waited_for(journal: Path) -> None:
    api, gate = BatchAPI(), Gate()
    async with gated(api, gate) as client:
        batch = client.batch(MODEL, given(3), journal=journal, poll=QUICK, concurrency=3)
        first = asyncio.ensure_future(anext(batch))
        await until(lambda: gate.asked > 0)
        assert counts(journal) == {State.PLANNED: 3}

        for _ in range(3):
            gate.permits.release()
        results = [await first, *[result async for result in batch]]

    assert all(result.ok for result in results)
    assert gate.asked == api.creates == 3


@pytest.mark.parametrize("refusal", [429, "not sent"])
async def test_a_refused_create_waits_for_the_next_permit_without_an_intent(
    journal: Path, refusal: int | str
) -> None:
    api, gate = BatchAPI(), Gate()
    api.refuse = lambda number: problem(429, retry_after="0") if number == 1 else None
    server = api.server()
    async with server, client_of(server.url) as client:
        limited = client.with_options(limiter=gate)
        batch = limited.batch(MODEL, given(1), journal=journal, poll=QUICK)
        first = asyncio.ensure_future(anext(batch))
        await until(lambda: gate.asked == 1)
        if refusal == "not sent":
            await server.stop()
        gate.permits.release()
        await until(lambda: gate.asked == 2)
        assert counts(journal) == {State.PLANNED: 1}

        if refusal == "not sent":
            api.refuse = None
            await server.__aenter__()
        gate.permits.release()
        result = await first

    assert result.ok, result.error
    assert (gate.asked, result.attempts, len(api.made)) == (2, 1, 1)
    assert gate.penalties == ([("create", 0.0)] if refusal == 429 else [])


async def test_refusals_are_repeated_as_the_retry_policy_says(journal: Path) -> None:
    api, gate = BatchAPI(), Gate()
    api.refuse = lambda number: problem(429, retry_after="0.01") if number < 3 else None
    for _ in range(9):
        gate.permits.release()
    async with gated(api, gate) as client:
        patient = client.with_options(retry=Retry(attempts=3, base=0, throttle_base=0))
        batch = patient.batch(MODEL, given(1), journal=journal, poll=QUICK)
        (result,) = [each async for each in batch]

    assert result.ok
    assert gate.asked == api.creates == 3


@pytest.mark.parametrize("drain", [True, False])
async def test_a_stop_ends_the_wait_for_a_permit(journal: Path, drain: bool) -> None:
    api, gate = BatchAPI(), Gate()
    async with gated(api, gate) as client:
        batch = client.batch(MODEL, given(100), journal=journal, poll=QUICK)
        first = asyncio.ensure_future(anext(batch, None))
        await until(lambda: gate.asked > 0)
        batch.stop(drain=drain)
        assert await first is None

    assert api.creates == 0
    assert set(counts(journal)) <= {State.PLANNED}


async def test_a_stop_while_creates_are_refused_leaves_no_intent(journal: Path) -> None:
    api = BatchAPI(refuse=lambda _: problem(429, retry_after="30"))
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, given(5), journal=journal, poll=QUICK)
        first = asyncio.ensure_future(anext(batch, None))
        await until(lambda: api.creates > 0)
        batch.stop()
        assert await first is None

    assert set(counts(journal)) <= {State.PLANNED}


async def test_max_predictions_counts_creates_that_wait(journal: Path) -> None:
    """What is over the number ends the creating, and not the wait of those within it."""
    api = BatchAPI(refuse=lambda number: problem(429, retry_after="0") if number == 2 else None)
    async with (
        api.server() as server,
        client_of(server.url, limits=Limits(creates=6000, burst=1)) as client,
    ):
        batch = client.batch(MODEL, given(40), journal=journal, poll=QUICK, max_predictions=4)
        results = [result async for result in batch]

    assert len(results) == len(api.made) == 4
    assert batch.summary.stopped == "max_predictions"


async def test_files_are_sent_before_a_permit_is_asked_for(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"not really")
    gate = Gate()
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        seen.append(request.path)
        if request.path == "/v1/files":
            return json_answer({"id": "f1", "urls": {"get": "https://example.com/f1"}}, 201)
        return problem(422, "no")

    async with FaultServer(answer) as server, Replicate(TOKEN, base_url=server.url) as client:
        limited = client.with_options(limiter=gate)
        batch = limited.batch(MODEL, [{"image": picture}], file_encoding="upload")
        first = asyncio.ensure_future(anext(batch))
        await until(lambda: gate.asked == 1)
        assert seen == ["/v1/files"]
        gate.permits.release()
        await first

    assert seen[:2] == ["/v1/files", f"/v1/models/{MODEL}/predictions"]


async def test_an_upload_that_breaks_off_is_not_uncertain(journal: Path, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"not really")
    uploads = 0

    def answer(request: Request) -> Answer:
        nonlocal uploads
        uploads += request.path == "/v1/files"
        return problem(502)

    async with FaultServer(answer) as server, client_of(server.url) as client:
        batch = client.batch(MODEL, [{"image": picture}], journal=journal, file_encoding="upload")
        (result,) = [each async for each in batch]

    assert not result.uncertain
    assert "5 uploads of its files broke off" in str(result.error)
    assert uploads == 5
    assert counts(journal) == {State.PLANNED: 1}


class Community(BatchAPI):
    """An API of a model that cannot be run without a version, which may change."""

    latest = "a" * 64
    versions: list[str]

    def _answer(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1/")
        if path == f"models/{MODEL}/predictions":
            self.requests["official"] += 1
            return problem(404)
        if path == f"models/{MODEL}":
            self.requests["model"] += 1
            return json_answer({**model(), "latest_version": {**version(), "id": self.latest}})
        answer = super()._answer(request)
        if request.method == "POST" and path == "predictions":
            body: Any = request.json()
            self.made[-1].shown = {"version": body["version"]}
        return answer


async def in_batch(api: BatchAPI, journal: Path | None, count: int) -> list[BatchResult[Any]]:
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, given(count), journal=journal, poll=QUICK, batch_timeouts=SOON)
        return [result async for result in batch]


async def test_a_version_is_looked_up_once_and_kept_by_a_resume(journal: Path) -> None:
    api = Community()

    first = await in_batch(api, journal, 20)
    api.latest = "b" * 64
    more = await in_batch(api, journal, 40)

    assert all(result.ok for result in (*first, *more)), [str(each.error) for each in first]
    assert (api.requests["official"], api.requests["model"]) == (1, 1)
    assert {made.shown["version"] for made in api.made} == {"a" * 64}
    assert len(api.made) == 40
    assert status(journal).header == JournalHeader(
        model=MODEL,
        sdk=status(journal).header.sdk,
        created_at=status(journal).header.created_at,
        latest_version="a" * 64,
    )


async def test_without_a_journal_a_version_is_looked_up_once_for_each_batch() -> None:
    api = Community()
    assert all(result.ok for result in await in_batch(api, None, 20))
    api.latest = "b" * 64
    assert all(result.ok for result in await in_batch(api, None, 20))

    assert (api.requests["official"], api.requests["model"]) == (2, 2)
    assert {made.shown["version"] for made in api.made} == {"a" * 64, "b" * 64}


async def test_lost_creates_of_a_looked_up_version_are_told_from_other_versions(
    journal: Path,
) -> None:
    api = Community(lose=lambda number: number == 3)
    other = api.make({"n": 2})
    other.shown = {"version": "c" * 64}

    results = await in_batch(api, journal, 5)

    assert all(result.ok for result in results), [str(each.error) for each in results]
    assert other.id not in {result.prediction.id for result in results if result.prediction}
    assert len(api.made) == 6


async def test_an_official_model_stays_without_a_version(
    server: LocalReplicate, client: Replicate, journal: Path
) -> None:
    @server.model("acme/double", official=True)
    def double(n: int) -> int:
        return 2 * n

    batch = client.batch("acme/double", given(5), journal=journal)
    assert sorted([result.unwrap() async for result in batch]) == [0, 2, 4, 6, 8]
    assert status(journal).header.latest_version is None


async def test_an_unknown_model_ends_the_batch(journal: Path) -> None:
    with pytest.raises(NotFoundError):
        await run(BatchAPI(refuse=lambda _: problem(404)), [{"n": 1}], journal)


async def test_a_limiter_that_others_share_leads_to_no_second_create(journal: Path) -> None:
    """Permits take 20 minutes, and 1 answer of 9 is lost."""
    program = Path(__file__).parent / "limited.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), "40", str(journal), stdout=PIPE
    )
    said, _ = await process.communicate()
    found = json.loads(said)

    assert found.pop("minutes") >= 20
    assert found.pop("longest_wait") > 1000
    assert found == {"ok": 40, "uncertain": 0, "made": 40, "created_twice": 0}
