from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from replicate_async import Retry, Timeout
from replicate_async.errors import APITimeoutError, RateLimitError, ReplicateError, ServerError
from tests.faults.calls import (
    AT_ONCE,
    HARMLESS_WRITES,
    READS,
    after,
    client_of,
)
from tests.support.fault_server import FaultServer, script
from tests.support.replies import problem
from tests.support.sentinel import caught
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

REPEATABLE: Final = {**READS, **HARMLESS_WRITES}

TROUBLES: Final = {
    "closed": Answer(cut=0, ending=Ending.CLOSE),
    "reset": Answer(cut=0, ending=Ending.RESET),
    "truncated": Answer(body=b'{"id": "x", "status": "starting"}', cut=60, ending=Ending.CLOSE),
    "408": problem(408),
    "429": problem(429, Retry_After="0"),
    "500": problem(500),
    "502": Answer(status=502, headers=(("Content-Type", "text/html"),), body=b"<h1>Bad</h1>"),
    "503": problem(503, Retry_After="0"),
    "504": problem(504),
}


@pytest.mark.parametrize("name", REPEATABLE)
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_what_does_no_harm_is_repeated_until_it_is_answered(name: str, trouble: str) -> None:
    async with after(TROUBLES[trouble], TROUBLES[trouble]) as server, client_of(server) as client:
        await REPEATABLE[name](client)

    assert len(server.requests) == 3
    assert len({(request.method, request.target, request.body) for request in server.requests}) == 1


@pytest.mark.parametrize("name", ["predictions.get", "predictions.cancel", "files.delete"])
@pytest.mark.virtual_clock
async def test_what_does_no_harm_is_repeated_after_silence(name: str) -> None:
    silent = Answer(cut=0, ending=Ending.HANG)
    async with (
        after(silent) as server,
        client_of(server, timeout=Timeout(read=0.05)) as client,
    ):
        await REPEATABLE[name](client)
        await asyncio.sleep(0.01)
        # The connection that stayed silent is closed, and not kept for the next request.
        assert server.open_connections == 1

    assert len(server.requests) == 2


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_attempts_are_counted_and_the_last_error_is_raised(trouble: str) -> None:
    async with FaultServer(script(TROUBLES[trouble])) as server, client_of(server) as client:
        with caught(ReplicateError):
            await client.predictions.get("abc")

    assert len(server.requests) == AT_ONCE.attempts


@pytest.mark.virtual_clock
async def test_silence_to_the_end_is_a_timeout() -> None:
    silent = Answer(cut=0, ending=Ending.HANG)
    async with (
        FaultServer(script(silent)) as server,
        client_of(server, timeout=Timeout(read=0.02)) as client,
    ):
        with caught(APITimeoutError):
            await client.predictions.get("abc")

    assert len(server.requests) == AT_ONCE.attempts


@pytest.mark.parametrize(
    "point", ["before the status line", "in the headers", "after the headers", "in the body"]
)
@pytest.mark.virtual_clock
async def test_silence_in_any_phase_of_an_answer_ends_in_time(point: str) -> None:
    whole = Answer(body=b"{}" * 50)
    silent = Answer(body=whole.body, cut=whole.cut_points()[point], ending=Ending.HANG)
    async with (
        FaultServer(script(silent)) as server,
        client_of(server, timeout=Timeout(read=0.03), retry=Retry(attempts=1)) as client,
    ):
        with caught(APITimeoutError):
            await client.predictions.get("abc")
        await server.until_idle()


async def test_a_mistake_is_not_repeated() -> None:
    for status in (400, 401, 402, 403, 404, 410, 413, 422):
        async with after(problem(status)) as server, client_of(server) as client:
            with caught(ReplicateError):
                await client.predictions.get("abc")

        assert len(server.requests) == 1


async def test_an_outage_does_not_multiply_the_traffic() -> None:
    calls = 1000
    async with FaultServer(script(problem(503))) as server, client_of(server) as client:
        outcomes = await asyncio.gather(
            *(client.predictions.get(f"p{n}") for n in range(calls)), return_exceptions=True
        )

    assert {type(outcome) for outcome in outcomes} == {ServerError}
    # A budget of 500 tokens pays for 35 repeats of 14.
    assert calls <= len(server.requests) <= calls + 35


async def test_the_budget_comes_back_with_success() -> None:
    down = True

    def handler(_request: object) -> Answer:
        return problem(503) if down else Answer(body=b'{"type": "user", "username": "acme"}')

    retry = Retry(base=0.0, budget=14)
    async with FaultServer(handler) as server, client_of(server, retry=retry) as client:
        for _ in range(3):
            with caught(ServerError):
                await client.account.get()
        assert len(server.requests) == 4

        down = False
        for _ in range(20):
            await client.account.get()

        down = True
        server.forget()
        with caught(ServerError):
            await client.account.get()
        assert len(server.requests) == 2


@pytest.mark.parametrize("wait", ["3600", "61", "Fri, 31 Dec 2999 23:59:59 GMT"])
async def test_a_wait_that_is_too_long_is_reported_at_once(wait: str) -> None:
    async with after(problem(429, Retry_After=wait)) as server, client_of(server) as client:
        with caught(RateLimitError) as found:
            await client.predictions.get("abc")

    assert len(server.requests) == 1
    assert found.error.retry_after is not None
    assert found.error.retry_after > 60


@pytest.mark.parametrize(
    "wait", ["", "soon", "nan", "inf", "-1", "1e400", "0x10", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
async def test_a_wait_that_means_nothing_does_no_harm(wait: str) -> None:
    async with after(problem(429, Retry_After=wait)) as server, client_of(server) as client:
        await client.predictions.get("abc")

    assert len(server.requests) == 2


async def test_the_wait_in_the_body_is_obeyed_as_well() -> None:
    long = Answer(status=429, body=b'{"detail": "throttled", "retry_after": 500}', acts=False)
    async with after(long) as server, client_of(server) as client:
        with caught(RateLimitError) as found:
            await client.predictions.get("abc")

    assert found.error.retry_after == 500
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
async def test_a_throttled_upload_is_sent_again_from_its_start(kind: str, tmp_path: Path) -> None:
    data = b"0123456789" * 20_000
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    opened = BytesIO(data)
    opened.seek(10)
    content = {"bytes": data, "path": path, "file": opened}[kind]

    async with (
        after(problem(429, Retry_After="0"), problem(429, Retry_After="0")) as server,
        client_of(server) as client,
    ):
        await client.files.create(content, filename="data.bin")  # type: ignore[arg-type] # as untyped callers do

    expected = data[10:] if kind == "file" else data
    assert [expected in request.body for request in server.requests] == [True] * 3
    assert len({len(request.body) for request in server.requests}) == 1


async def test_an_upload_that_cannot_be_had_again_is_not_sent_again() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"hello "
        yield b"world"

    async with after(problem(429, Retry_After="0")) as server, client_of(server) as client:
        with caught(RateLimitError):
            await client.files.create(chunks(), filename="hello.txt")

    assert len(server.requests) == 1
    assert b"hello world" in server.requests[0].body
