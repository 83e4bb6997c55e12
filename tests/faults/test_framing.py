"""Answers that are not HTTP, or not quite: a typed error or the right value, and never a hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Final

import pytest

from replicate_async import Timeout
from replicate_async.errors import APIConnectionError, DecodeError, ReplicateError
from replicate_async.schemas import Prediction
from tests.faults.calls import AT_ONCE, ONCE, client_of
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction
from tests.support.sentinel import assert_clean, caught
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Framing, Request, chunked

pytestmark = pytest.mark.anyio

OTHER: Final = json.dumps(prediction("http://127.0.0.1/v1", id="other")).encode()
BODY: Final = json.dumps(prediction("http://127.0.0.1/v1", id="broken")).encode()
LENGTH: Final = b"Content-Length: %d\r\n" % len(BODY)
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# What is no HTTP answer at all, or one whose body is cut or cannot be delimited.
MALFORMED: Final = {
    "nothing like HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an HTTP/0.9 body": b"<html>hello</html>\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "status of one digit": b"HTTP/1.1 2 OK\r\n\r\n",
    "an HTTP version of its own": b"HTTP/9.9.9 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "a header without a colon": OK + LENGTH + b"nonsense\r\n\r\n" + BODY,
    "a NUL in a header": OK + LENGTH + b"X-A: a\x00b\r\n\r\n" + BODY,
    "a space in a header's name": OK + LENGTH + b"X A: b\r\n\r\n" + BODY,
    "a negative length": OK + b"Content-Length: -5\r\n\r\n" + BODY,
    "a length of letters": OK + b"Content-Length: ten\r\n\r\n" + BODY,
    "two lengths": OK + b"Content-Length: 5\r\n" + LENGTH + b"\r\n" + BODY,
    "a length beyond all numbers": OK + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "a body shorter than its length": OK + LENGTH + b"\r\n" + BODY[:-5],
    "length and chunks": OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + BODY,
    "a chunk size of letters": CHUNKED + b"zz\r\n" + BODY,
    "a negative chunk size": CHUNKED + b"-5\r\n" + BODY,
    "a chunk size beyond all numbers": CHUNKED + b"f" * 40 + b"\r\n" + BODY,
    "a chunk larger than its size": CHUNKED + b"5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk smaller than its size": CHUNKED + b"fff\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no last chunk": CHUNKED + chunked(BODY)[:-5],
    "trailers without an end": CHUNKED + chunked(BODY)[:-2] + b"X-Trailer: 1\r\n",
    "not the encoding it says": OK + LENGTH + b"Content-Encoding: gzip\r\n\r\n" + BODY,
    "a head that never ends": OK + b"X-A: b\r\n",
}

# What strict readers refuse and lenient ones take: either is well, but the value must be right.
TOLERABLE: Final = {
    "a body longer than its length": OK + LENGTH + b"\r\n" + BODY + b"HTTP/1.1 200 OK\r\n\r\nmore",
    "a second answer to one request": (OK + LENGTH + b"\r\n" + BODY)
    + (OK + b"Content-Length: %d\r\n\r\n" % len(OTHER) + OTHER),
    "bare line feeds": (OK + LENGTH).replace(b"\r\n", b"\n") + b"\n" + BODY,
    "a folded header": OK + LENGTH + b"X-A: b\r\n  c\r\n\r\n" + BODY,
    "a reason of Latin-1": OK.replace(b"OK", b"D\xe9j\xe0 vu") + LENGTH + b"\r\n" + BODY,
    "no reason": OK.replace(b" OK", b"") + LENGTH + b"\r\n" + BODY,
    "the same length twice": OK + LENGTH + LENGTH + b"\r\n" + BODY,
    "chunk extensions": CHUNKED + b"%x;a=b\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "HTTP/1.0": OK.replace(b"HTTP/1.1", b"HTTP/1.0") + LENGTH + b"\r\n" + BODY,
    "empty lines first": b"\r\n\r\n" + OK + LENGTH + b"\r\n" + BODY,
}


async def ask_twice(
    raw: bytes, *, ending: Ending = Ending.CLOSE
) -> tuple[Prediction | ReplicateError, Prediction]:
    """Get a broken answer, then a good one; return both outcomes."""

    def handler(request: Request) -> Answer:
        if request.target.endswith("/broken"):
            return Answer(raw=raw, ending=ending)
        return json_answer(prediction(server.url, id="good"))

    async with FaultServer(handler) as server, client_of(server, retry=ONCE) as client:
        async with asyncio.timeout(HANG):
            outcome: Prediction | ReplicateError
            try:
                outcome = await client.predictions.get("broken")
            except ReplicateError as error:
                assert_clean(error)
                outcome = error
            # The first connection may have been closed by now, which is found out by using it.
            good = await client.with_options(retry=AT_ONCE).predictions.get("good")
    return outcome, good


@pytest.mark.parametrize("name", MALFORMED)
async def test_an_answer_that_is_not_http_is_a_typed_error(name: str) -> None:
    outcome, good = await ask_twice(MALFORMED[name])

    assert isinstance(outcome, APIConnectionError), outcome
    assert good.id == "good"


@pytest.mark.parametrize("name", TOLERABLE)
@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.KEEP], ids=["closed", "kept"])
async def test_an_odd_answer_is_read_right_or_refused(name: str, ending: Ending) -> None:
    outcome, good = await ask_twice(TOLERABLE[name], ending=ending)

    assert not isinstance(outcome, ReplicateError) or isinstance(outcome, APIConnectionError)
    assert not isinstance(outcome, Prediction) or outcome.id == "broken"
    assert good.id == "good"


@pytest.mark.parametrize("step", [1, 2, 7, 100])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_answer_in_crumbs_is_read_whole(step: int, framing: Framing) -> None:
    def handler(_request: Request) -> Answer:
        return Answer(body=BODY, framing=framing, step=step)

    async with FaultServer(handler) as server, client_of(server, retry=ONCE) as client:
        found = await client.predictions.get("broken")

    assert found.id == "broken"


FLOODS: Final = {
    "ten thousand headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)),
    "a header of a megabyte": OK + b"X-Long: " + b"y" * 1_000_000 + b"\r\n",
    "a name of a megabyte": OK + b"X" * 1_000_000 + b": y\r\n",
    "a reason of a megabyte": OK.replace(b"OK", b"O" * 1_000_000),
    "a megabyte of cookies": OK + b"".join(b"Set-Cookie: c%d=v\r\n" % n for n in range(40_000)),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_headers_is_refused(name: str) -> None:
    outcome, good = await ask_twice(FLOODS[name] + LENGTH + b"\r\n" + BODY)

    assert isinstance(outcome, APIConnectionError), outcome
    assert len(str(outcome)) < 1000
    assert good.id == "good"


ENDLESS: Final = {
    "a status line": (b"HTTP/1.1 200 ", b"O" * 65536),
    "a header": (OK + b"X: ", b"y" * 65536),
    "headers": (OK, b"X-A: bbbbbbbbbbbbbbbbbbbbbb\r\n" * 1000),
    "trailers": (CHUNKED + chunked(BODY)[:-2], b"X-A: bbbbbbbbbbbbbbbbbbbbbb\r\n" * 1000),
    "a body past the limit": (OK + b"\r\n", bytes(1 << 20)),
    "chunks past the limit": (CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n"),
    "chunks under a small length": (
        OK + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + bytes(65536) + b"\r\n",
    ),
}


# None of these bytes are of a body, and nothing counts them: the time without a body ends them.
BODILESS: Final = {
    "a chunk size": (CHUNKED, b"0" * 65536),
    "a chunk extension": (CHUNKED + b"5;", b"a" * 65536),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "past the limit" in name else [])
        for name in [*ENDLESS, *BODILESS]
    ],
)
async def test_what_never_ends_is_given_up(name: str) -> None:
    start, more = {**ENDLESS, **BODILESS}[name]
    patience = Timeout(read=0.2 if name in BODILESS else HANG)

    def forever() -> Iterator[bytes]:
        while True:
            yield more

    def handler(_request: Request) -> Answer:
        return Answer(raw=start, source=forever)

    async with (
        FaultServer(handler) as server,
        client_of(server, retry=ONCE, timeout=patience) as client,
    ):
        async with asyncio.timeout(HANG):
            with caught(ReplicateError) as found:
                await client.predictions.get("broken")
        await server.until_idle()

    assert isinstance(found.error, APIConnectionError | DecodeError)


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 100

    outcome, good = await ask_twice(interim + OK + LENGTH + b"\r\n" + BODY)

    assert isinstance(outcome, Prediction)
    assert good.id == "good"


async def test_interim_answers_without_end_leave_the_callers_deadline_in_charge() -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"

    def handler(_request: Request) -> Answer:
        return Answer(raw=b"", source=forever)

    async with FaultServer(handler) as server, client_of(server, retry=ONCE) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.predictions.get("broken")
        await server.until_idle()


async def test_an_upgrade_without_a_request_for_it_is_refused() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"

    outcome, good = await ask_twice(raw)

    assert isinstance(outcome, ReplicateError)
    assert good.id == "good"
