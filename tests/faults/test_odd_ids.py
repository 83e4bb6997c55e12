"""Creates that are answered with an id that no URL can name: the prediction is not lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest

from replicate_async import AmbiguousCreateError, DecodeError, InvalidArgumentError, Replicate
from tests.faults.calls import client_of
from tests.support.fault_server import FaultServer
from tests.support.replies import VERSION_ID, file, json_answer, page, prediction, training
from tests.support.sentinel import TOKEN, caught
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

ODD: Final = ["a/b", "..", ".", "", "a?b", "a b", "a%2fb", "x" * 600, f"../{TOKEN}"]

MAKES: Final[Mapping[str, Callable[[Replicate], Awaitable[Any]]]] = {
    "predictions": lambda client: client.predictions.create(VERSION_ID, {}),
    "models.predictions": lambda client: client.models.predictions.create("acme/echo", {}),
    "run": lambda client: client.run("acme/echo", {}),
    "stream": lambda client: client.stream("acme/echo", {}).__aenter__(),
    "trainings": lambda client: client.trainings.create(
        f"acme/echo:{VERSION_ID}", destination="acme/tuned", input={}
    ),
    "files": lambda client: client.files.create(b"hello", filename="a.txt"),
}


def making(odd: str, status: str = "starting") -> FaultServer:
    """Make a server whose creates are answered with the id *odd*."""

    def answer(request: Request) -> Answer:
        made = prediction(server.url, status=status)
        if request.path.endswith("/trainings"):
            made = training(server.url, status=status)
        elif request.path.endswith("/files"):
            made = file(server.url)
        made["id"] = odd
        return json_answer(made, 201) if request.method == "POST" else json_answer(page(made))

    server = FaultServer(answer)
    return server


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("make", MAKES)
async def test_a_create_with_an_id_that_cannot_be_asked_for_says_so(make: str, odd: str) -> None:
    async with making(odd) as server, client_of(server) as client:
        with caught(AmbiguousCreateError) as found:
            await MAKES[make](client)

    error = found.error
    assert isinstance(error, DecodeError)
    assert not isinstance(error, InvalidArgumentError)
    assert "answered 201 with the id" in str(error)
    assert "It was created" in str(error)
    assert error.sent_at is not None
    assert server.creations == 1
    if make not in {"trainings", "files"} and TOKEN not in odd:
        assert error.prediction is not None
        assert error.prediction.id == odd
        assert error.prediction.status == "starting"


@pytest.mark.parametrize("odd", ["a/b", ".."])
async def test_an_output_that_came_with_such_an_id_is_returned(odd: str) -> None:
    async with making(odd, "succeeded") as server, client_of(server) as client:
        assert await client.run("acme/echo", {}) == "Hello."


async def test_a_batch_creates_nothing_a_second_time_for_such_an_id() -> None:
    async with making("a/b") as server, client_of(server) as client:
        results = [result async for result in client.batch("acme/echo", [{"text": "Alice"}])]

    assert len(results) == 1
    assert results[0].error is not None
    assert "a/b" in str(results[0].error)
    assert server.creations == 1
