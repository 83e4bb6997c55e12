"""The latest version of a community model: looked up, kept for a while, and looked up again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import msgspec
import pytest

from replicate_async import Replicate, UnprocessableEntityError
from replicate_async.context import context_of
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, problem
from tests.support.sentinel import TOKEN
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


class Service:
    """A community model whose owner releases and deletes versions."""

    def __init__(self) -> None:
        self.latest: str | None = "1" * 64
        self.deleted: set[str] = set()
        self.refusal: str = "version"
        self.server = FaultServer(self._answer)
        self._ids = count()

    def _answer(self, request: Request) -> Answer:
        if request.path == "/v1/models/acme/echo/predictions":
            return problem(404)
        if request.path == "/v1/models/acme/echo":
            version = None if self.latest is None else {"id": self.latest}
            return json_answer({"owner": "acme", "name": "echo", "latest_version": version})
        version_id = msgspec.json.decode(request.body)["version"]
        if version_id in self.deleted:
            said = f"The specified {self.refusal} does not exist"
            return json_answer({"title": f"Invalid {self.refusal}", "detail": said}, 422)
        made = prediction(self.server.url, id=f"p{next(self._ids)}", status="starting")
        return json_answer(made | {"version": version_id}, 201)

    @property
    def asked(self) -> list[str]:
        names = {
            "/v1/models/acme/echo/predictions": "official",
            "/v1/models/acme/echo": "look",
            "/v1/predictions": "create",
        }
        return [names[request.path] for request in self.server.requests]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with service.server:
        yield service


async def version_of(client: Replicate) -> str | None:
    return (await client.predictions.create("acme/echo", {"text": "x"})).version


async def test_a_new_version_is_found_after_five_minutes(service: Service) -> None:
    now = 100.0
    async with Replicate(TOKEN, base_url=service.server.url) as client:
        context_of(client).models.latest_versions.clock = lambda: now
        assert await version_of(client) == "1" * 64
        service.latest = "2" * 64
        now += 299.0
        assert await version_of(client) == "1" * 64
        now += 2.0
        assert await version_of(client) == "2" * 64

    assert service.asked == ["official", "look", "create", "create", "official", "look", "create"]


async def test_a_deleted_version_is_looked_up_again_and_created_once_more(
    service: Service,
) -> None:
    async with Replicate(TOKEN, base_url=service.server.url) as client:
        await version_of(client)
        service.latest, service.deleted = "2" * 64, {"1" * 64}

        assert [await version_of(client) for _ in range(2)] == ["2" * 64] * 2

    assert service.asked[3:] == ["create", "look", "create", "create"]


@pytest.mark.parametrize("latest", ["1" * 64, None])
async def test_a_refused_version_that_is_still_the_latest_is_not_created_again(
    service: Service, latest: str | None
) -> None:
    async with Replicate(TOKEN, base_url=service.server.url) as client:
        await version_of(client)
        service.latest, service.deleted = latest, {"1" * 64}

        with pytest.raises(UnprocessableEntityError, match="version does not exist"):
            await version_of(client)

    assert service.asked[3:] == ["create", "look"]


async def test_a_refused_input_is_not_sent_again(service: Service) -> None:
    async with Replicate(TOKEN, base_url=service.server.url) as client:
        await version_of(client)
        service.latest, service.deleted, service.refusal = "2" * 64, {"1" * 64}, "prompt"

        with pytest.raises(UnprocessableEntityError, match="prompt does not exist"):
            await version_of(client)

    assert service.asked[3:] == ["create"]


async def test_a_version_that_the_caller_named_is_not_replaced(service: Service) -> None:
    service.latest, service.deleted = "2" * 64, {"1" * 64}
    async with Replicate(TOKEN, base_url=service.server.url) as client:
        with pytest.raises(UnprocessableEntityError):
            await client.predictions.create(f"acme/echo:{'1' * 64}")

    assert service.asked == ["create"]
