"""The secret, and webhooks as a server of your own receives them."""

from __future__ import annotations

import json

import pytest

from replicate_async import (
    AuthenticationError,
    Prediction,
    Replicate,
    Training,
    WebhookVerificationError,
    webhooks,
)
from replicate_async.local import LocalReplicate
from tests.support.embedded import until
from tests.support.fault_server import FaultServer, script
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio


def receiver() -> FaultServer:
    return FaultServer(script(Answer(status=204)))


async def received(hooks: FaultServer, count: int) -> list[Request]:
    await until(lambda: len(hooks.requests) >= count)
    return hooks.requests


async def test_the_secret_is_the_accounts_own(server: LocalReplicate, client: Replicate) -> None:
    other = client.with_options(api_token=server.add_account("acme"))

    secret = await client.webhooks.default.secret.get()

    assert secret.key.startswith("whsec_")
    assert await client.webhooks.default.secret.get() == secret
    assert (await other.webhooks.default.secret.get()).key != secret.key


async def test_the_secret_needs_a_token(client: Replicate) -> None:
    with pytest.raises(AuthenticationError):
        await client.with_options(api_token="r8_unknown").webhooks.default.secret.get()


async def test_a_prediction_calls_back_signed(client: Replicate) -> None:
    secret = (await client.webhooks.default.secret.get()).key
    async with receiver() as hooks:
        made = await client.predictions.create(
            "local/echo",
            {"value": "hi"},
            webhook=f"{hooks.origin}/hook?customer=7",
            webhook_events_filter=["start", "completed"],
        )
        requests = await received(hooks, 2)

    runs = [webhooks.unwrap(request.body, request.headers, secret) for request in requests]
    assert [request.target for request in requests] == ["/hook?customer=7"] * 2
    assert {request.header("content-type") for request in requests} == {"application/json"}
    assert [run.status for run in runs] == ["processing", "succeeded"]
    ended, called = await client.predictions.get(made.id), runs[-1]
    assert isinstance(called, Prediction)
    assert (called.id, called.output, called.urls) == (made.id, "hi", ended.urls)


async def test_webhooks_are_sent_for_outputs_and_the_end_by_default(client: Replicate) -> None:
    secret = (await client.webhooks.default.secret.get()).key
    async with receiver() as hooks:
        await client.predictions.create("local/echo", {"value": 1}, webhook=hooks.origin)
        requests = await received(hooks, 2)

    runs = [webhooks.unwrap(request.body, request.headers, secret) for request in requests]
    assert [(run.status, run.output) for run in runs] == [("processing", 1), ("succeeded", 1)]


async def test_a_training_calls_back_too(server: LocalReplicate, client: Replicate) -> None:
    await client.models.create("dev/tales", visibility="private", hardware="cpu")
    secret = (await client.webhooks.default.secret.get()).key
    version = (await client.models.get("local/storyteller")).latest_version
    assert version is not None
    async with receiver() as hooks:
        made = await client.trainings.create(
            f"local/storyteller:{version.id}",
            destination="dev/tales",
            input={"text": "Once there was a king who had a golden ball."},
            webhook=hooks.origin,
            webhook_events_filter=["completed"],
        )
        (request,) = await received(hooks, 1)

    run = webhooks.unwrap(request.body, request.headers, secret)
    assert isinstance(run, Training)
    assert run.id == made.id
    assert run.output is not None
    assert (run.output.version or "").startswith("dev/tales:")


async def test_a_changed_body_is_refused(client: Replicate) -> None:
    secret = (await client.webhooks.default.secret.get()).key
    async with receiver() as hooks:
        await client.predictions.create(
            "local/echo",
            {"value": "hi"},
            webhook=hooks.origin,
            webhook_events_filter=["completed"],
        )
        (request,) = await received(hooks, 1)

    body = json.loads(request.body) | {"output": "bye"}
    with pytest.raises(WebhookVerificationError) as caught:
        webhooks.verify(json.dumps(body), request.headers, secret)
    assert caught.value.reason == "InvalidSignature"


async def test_the_webhook_of_the_end_is_retried_until_it_is_answered(
    server: LocalReplicate, client: Replicate
) -> None:
    async with FaultServer(script(Answer(status=503), Answer(status=204))) as hooks:
        await client.predictions.create(
            "local/echo",
            {"value": "hi"},
            webhook=hooks.origin,
            webhook_events_filter=["completed"],
        )
        await received(hooks, 1)
        await until(lambda: server.webhook_attempts)
        server.advance(30)
        first, second = await received(hooks, 2)

    assert first.header("webhook-id") == second.header("webhook-id")
    assert [attempt.status for attempt in server.webhook_attempts][:1] == [503]
