from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

import pytest

from replicate_async import Replicate, Retry, Timeout
from replicate_async.errors import (
    AmbiguousCreateError,
    APIConnectionError,
    APIStatusError,
    DecodeError,
    RateLimitError,
)
from tests.faults.calls import AT_ONCE, CREATES, RELEASES, after, client_of
from tests.support.deaf_server import deaf_server
from tests.support.fault_server import FaultServer
from tests.support.ports import free_port
from tests.support.replies import VERSION_ID, problem, service
from tests.support.sentinel import caught
from tests.support.wire import Answer, Ending, Framing, Request

pytestmark = pytest.mark.anyio

Break = Callable[[Answer, str], Answer]


def ends(ending: Ending, change: Callable[[Answer], Answer] = lambda answer: answer) -> Break:
    """Break an answer off at the point named, and end the connection so."""

    def broken(answer: Answer, point: str) -> Answer:
        changed = change(answer)
        return replace(changed, cut=changed.cut_points()[point], ending=ending)

    return broken


def goes_on_with(junk: bytes, framing: Framing = "length") -> Break:
    """Send *junk* in place of the rest of the answer, and close."""

    def broken(answer: Answer, point: str) -> Answer:
        changed = replace(answer, framing=framing)
        sent = changed.wire()[: changed.cut_points()[point]]
        return replace(answer, raw=sent + junk, ending=Ending.CLOSE)

    return broken


def as_status(status: int, ending: Ending) -> Break:
    """Break off an answer that says *status*."""

    def broken(_answer: Answer, point: str) -> Answer:
        refusal = problem(status)
        return replace(refusal, cut=refusal.cut_points()[point], ending=ending, acts=True)

    return broken


INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

FAILURES: Final[dict[str, Break]] = {
    "closed": ends(Ending.CLOSE),
    "half-closed": ends(Ending.HALF_CLOSE),
    "reset": ends(Ending.RESET),
    "silent": ends(Ending.HANG),
    "trickled, reset": ends(Ending.RESET, lambda answer: replace(answer, step=40)),
    "interim answers, closed": ends(Ending.CLOSE, lambda answer: replace(answer, prelude=INTERIM)),
    "chunked, closed": ends(Ending.CLOSE, lambda answer: replace(answer, framing="chunked")),
    "chunked, bad size": goes_on_with(b"\r\nzz\r\n", "chunked"),
    "garbage": goes_on_with(b"\xff\x00\x01garbage\r\n\r\n"),
    "zeros": goes_on_with(bytes(3000)),
    "503, closed": as_status(503, Ending.CLOSE),
    "409, reset": as_status(409, Ending.RESET),
}

POINTS: Final = list(Answer(body=b"{}").cut_points())


CASES: Final = [
    (name, failure)
    for name in CREATES
    for failure in FAILURES
    # An upload may stay silent for ten minutes, which no test waits for.
    if (name, failure) != ("files.create", "silent")
]


@pytest.mark.parametrize(("name", "failure"), CASES)
@pytest.mark.virtual_clock
async def test_a_create_whose_answer_is_lost_is_not_sent_again(name: str, failure: str) -> None:
    for point in POINTS:

        def handler(request: Request, point: str = point) -> Answer:
            return FAILURES[failure](service("http://127.0.0.1/v1", request), point)

        patience = Timeout(read=0.05 if failure == "silent" else 5.0)
        async with FaultServer(handler) as server, client_of(server, timeout=patience) as client:
            with caught(AmbiguousCreateError) as found:
                await CREATES[name](client)

        assert (server.creations, len(server.connections)) == (1, 1), point
        assert found.error.may_have_been_created
        assert "try again" not in str(found.error), point
        assert isinstance(found.error.sent_at, datetime)


@pytest.mark.parametrize("name", CREATES)
@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.HALF_CLOSE, Ending.RESET, Ending.HANG])
async def test_a_create_answered_whole_succeeds_with_anything_after_it(
    name: str, ending: Ending
) -> None:
    def handler(request: Request) -> Answer:
        return replace(service("http://127.0.0.1/v1", request), ending=ending)

    async with FaultServer(handler) as server, client_of(server) as client:
        await CREATES[name](client)

    assert server.creations == 1


@pytest.mark.parametrize("name", CREATES)
@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 520, 599])
async def test_a_status_that_leaves_a_create_open_is_not_sent_again(name: str, status: int) -> None:
    async with after(problem(status)) as server, client_of(server) as client:
        with caught(AmbiguousCreateError) as found:
            await CREATES[name](client)

    assert server.creations == 1
    assert isinstance(found.error, APIStatusError)
    assert found.error.status == status


@pytest.mark.parametrize("name", CREATES)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 413, 422, 451])
async def test_a_refused_create_is_certain_and_not_sent_again(name: str, status: int) -> None:
    async with after(problem(status)) as server, client_of(server) as client:
        with caught(APIStatusError) as found:
            await CREATES[name](client)

    assert not isinstance(found.error, AmbiguousCreateError)
    assert found.error.status == status
    assert len(server.requests) == 1
    assert server.creations == 0


@pytest.mark.parametrize("name", CREATES)
async def test_a_throttled_create_is_repeated_until_it_is_let_in(name: str) -> None:
    throttled = problem(429, "Request was throttled.", Retry_After="0")
    async with after(throttled, throttled, throttled) as server, client_of(server) as client:
        await CREATES[name](client)

    assert server.creations == 1
    assert len(server.requests) == 4
    # Each multipart body has a new boundary, of the same length.
    assert len({len(request.body) for request in server.requests}) == 1


@pytest.mark.parametrize("name", CREATES)
async def test_a_create_that_stays_throttled_ends_in_a_certain_error(name: str) -> None:
    throttled = problem(429, "Request was throttled.", Retry_After="0")
    async with after(*[throttled] * 9) as server, client_of(server) as client:
        with caught(RateLimitError) as found:
            await CREATES[name](client)

    assert not isinstance(found.error, AmbiguousCreateError)
    assert (server.creations, len(server.requests)) == (0, AT_ONCE.attempts)


@pytest.mark.parametrize("name", CREATES)
async def test_a_create_that_could_not_connect_was_not_sent(name: str) -> None:
    server = FaultServer(lambda _request: Answer())
    server.port = free_port()  # where it does not listen

    async with client_of(server) as client:
        with caught(APIConnectionError) as found:
            await CREATES[name](client)

    assert found.error.phase == "not_sent"
    assert not isinstance(found.error, AmbiguousCreateError)


@pytest.mark.virtual_clock
async def test_a_create_is_repeated_until_it_can_connect() -> None:
    late = after()
    late.port = free_port()
    patient = Retry(attempts=100, base=0.01, cap=0.01)

    async with client_of(late, retry=patient) as client:
        creating = asyncio.create_task(client.predictions.create(VERSION_ID, {}))
        await asyncio.sleep(0.03)
        async with late:
            await creating

    assert late.creations == 1


@pytest.mark.virtual_clock
async def test_a_create_that_gets_no_connection_in_time_was_not_sent() -> None:
    with deaf_server() as url:
        async with Replicate(
            "r8_x", base_url=url, timeout=Timeout(connect=0.03), retry=AT_ONCE
        ) as client:
            with caught(APIConnectionError) as found:
                await client.predictions.create(VERSION_ID, {})

    assert found.error.phase == "not_sent"
    assert not isinstance(found.error, AmbiguousCreateError)


async def test_a_create_on_a_closed_connection_happens_once_or_not_at_all() -> None:
    def handler(request: Request) -> Answer:
        return replace(service(server.url, request), ending=Ending.CLOSE)

    for pauses in range(60):
        async with FaultServer(handler) as server, client_of(server) as client:
            await client.account.get()
            for _ in range(pauses // 6):
                await asyncio.sleep(0)
            with suppress(AmbiguousCreateError):
                await client.predictions.create(VERSION_ID, {})

        assert server.creations <= 1
        assert len(server.requests) <= 2


@pytest.mark.parametrize("name", CREATES)
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"<html>", b"[" * 100_000], ids=["empty", "object", "HTML", "deep"]
)
async def test_a_create_whose_answer_cannot_be_read_has_happened(name: str, body: bytes) -> None:
    async with after(Answer(status=201, body=body)) as server, client_of(server) as client:
        with caught(AmbiguousCreateError) as found:
            await CREATES[name](client)

    assert isinstance(found.error, DecodeError)
    assert server.creations == 1


async def test_a_create_whose_answer_is_too_large_has_happened() -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    endless = Answer(raw=b"HTTP/1.1 201 Created\r\n\r\n", source=forever)
    async with after(endless) as server, client_of(server) as client:
        with caught(AmbiguousCreateError):
            await CREATES["predictions.create"](client)
        await server.until_idle()

    assert server.creations == 1


async def test_an_update_that_makes_a_release_is_not_sent_again() -> None:
    lost = Answer(cut=0, ending=Ending.RESET)
    async with after(lost) as server, client_of(server) as client:
        with caught(AmbiguousCreateError):
            await RELEASES["deployments.update"](client)

    assert len(server.requests) == 1
