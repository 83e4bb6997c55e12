from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web

from replicate_async.local import LocalReplicate, Settings
from tests.local.conftest import Gate
from tests.local.wire import Wire
from tests.support.embedded import until
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio


@dataclass
class Receiver:
    """An endpoint that keeps requests and answers with the statuses of a test."""

    url: str = ""
    bodies: list[Any] = field(default_factory=list[Any])
    requests: list[tuple[dict[str, str], bytes]] = field(
        default_factory=list[tuple[dict[str, str], bytes]]
    )
    statuses: list[int] = field(default_factory=list[int])
    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((headers, body))
        self.bodies.append(msgspec.json.decode(body))
        self.arrived.release()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": self.url})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    kept = Receiver()
    app = web.Application()
    app.router.add_route("POST", "/hook", kept.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield kept
    await runner.cleanup()


async def attempts(wire: Wire, count: int) -> None:
    """Wait until the server has tried so often to call a webhook."""
    await until(lambda: len(wire.server.webhook_attempts) >= count)


async def test_the_webhook_of_an_end_is_signed(wire: Wire, receiver: Receiver) -> None:
    await wire.run("acme/broken", {}, webhook=receiver.url + "?user=7")
    await receiver.arrived.acquire()

    headers, body = receiver.requests[0]
    key = base64.b64decode(
        (await wire.get("/webhooks/default/secret"))["key"].removeprefix("whsec_")
    )
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-id"].startswith("msg_")
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert (receiver.bodies[0]["status"], receiver.bodies[0]["output"]) == ("failed", None)


class TestThrottled:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(webhook_throttle=HANG)

    async def test_output_and_completed_are_sent_by_default(
        self, server: LocalReplicate, wire: Wire, receiver: Receiver, gate: Gate
    ) -> None:
        @server.model("acme/two")
        async def two() -> AsyncIterator[str]:
            yield "one"
            await gate.open.wait()
            yield "two"

        await wire.run("acme/two", {}, webhook=receiver.url)
        await receiver.arrived.acquire()
        gate.open.set()
        await receiver.arrived.acquire()

        partial, whole = receiver.bodies
        assert (partial["status"], partial["output"]) == ("processing", ["one"])
        assert (partial["completed_at"], partial["metrics"]) == (None, {})
        # The second output came soon after the first, so only the end tells of it.
        assert (whole["status"], whole["output"]) == ("succeeded", ["one", "two"])


async def test_only_the_events_in_the_filter_are_sent(wire: Wire, receiver: Receiver) -> None:
    await wire.finish(
        "acme/echo", {"text": "a"}, webhook=receiver.url, webhook_events_filter=["start", "logs"]
    )
    await receiver.arrived.acquire()
    await receiver.arrived.acquire()

    start, logs = receiver.bodies
    assert (start["status"], start["logs"]) == ("processing", "")
    assert (logs["status"], logs["logs"]) == ("processing", "saying a\n")


async def test_the_webhook_of_an_end_is_retried_until_it_succeeds(
    wire: Wire, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302, 404]
    await wire.run(
        "acme/echo", {"text": "a"}, webhook=receiver.url, webhook_events_filter=["completed"]
    )
    for tries in range(1, 5):
        await receiver.arrived.acquire()
        await attempts(wire, tries)
        wire.server.advance(10)

    ids = {headers["webhook-id"] for headers, _ in receiver.requests}
    assert (len(receiver.requests), len(ids)) == (4, 1)
    assert [item.status for item in wire.server.webhook_attempts] == [500, 302, 404, 200]


def sending() -> bool:
    """Return whether the server still sends, or will repeat, the webhooks of a run."""
    return any("send_all" in str(task.get_coro()) for task in asyncio.all_tasks())


async def test_retries_end_after_a_minute(wire: Wire, receiver: Receiver) -> None:
    receiver.statuses = [500] * 20
    await wire.run(
        "acme/echo", {"text": "a"}, webhook=receiver.url, webhook_events_filter=["completed"]
    )
    for tries in range(1, 7):
        await receiver.arrived.acquire()
        await attempts(wire, tries)
        wire.server.advance(60)

    await until(lambda: not sending())
    assert len(receiver.requests) == 6


async def test_only_the_webhook_of_an_end_is_retried(
    wire: Wire, receiver: Receiver, gate: Gate
) -> None:
    receiver.statuses = [500]
    prediction = await wire.run(
        "acme/gated", {}, webhook=receiver.url, webhook_events_filter=["start", "completed"]
    )
    await receiver.arrived.acquire()

    await wire.ask("POST", f"/predictions/{prediction['id']}/cancel")
    await receiver.arrived.acquire()

    assert [body["status"] for body in receiver.bodies] == ["processing", "canceled"]
    assert gate.entered.is_set()


@pytest.mark.parametrize("url", ["https://169.254.169.254/x", "https://example.com/x"])
async def test_other_hosts_are_never_called(wire: Wire, url: str) -> None:
    await wire.finish("acme/broken", {}, webhook=url)
    await attempts(wire, 1)

    attempt = wire.server.webhook_attempts[0]
    assert attempt.status is None
    assert "not allowed" in (attempt.error or "")


async def test_a_webhook_shows_a_training_as_a_training(wire: Wire, receiver: Receiver) -> None:
    version = (await wire.get("/models/local/storyteller"))["latest_version"]["id"]
    body = {"destination": "acme/echo", "input": {"text": "a b c. " * 20}, "webhook": receiver.url}
    created = await wire.ask(
        "POST", f"/models/local/storyteller/versions/{version}/trainings", json=body
    )
    assert created.status == 201
    while not receiver.bodies or receiver.bodies[-1]["completed_at"] is None:
        await receiver.arrived.acquire()

    told = receiver.bodies[-1]
    assert told["urls"]["get"] == f"{wire.server.url}/trainings/{created.json['id']}"


class TestNoReceiver:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(webhook_timeout=0.1)

    async def test_closing_drops_unsent_webhooks(self, server: LocalReplicate, wire: Wire) -> None:
        await wire.finish("acme/broken", {}, webhook="http://127.0.0.1:1/x")
        await attempts(wire, 1)

        await server.close()

        assert server.webhook_attempts[0].status is None
