"""Being woken by a webhook, which is believed when it was signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from replicate_async import Prediction, WebhookSecret, WebhookVerificationError
from replicate_async.context import context_of
from tests.runs.states import LEISURE, STATES, Service, ended, signed
from tests.support.embedded import until
from tests.support.replies import training
from tests.support.sentinel import WEBHOOK_SECRET
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service(*STATES)
    async with service.server:
        yield service


async def test_a_webhook_ends_the_wait(service: Service) -> None:
    service.states = [{"status": "processing"}]
    async with service.client() as client:
        waits = [
            asyncio.ensure_future(client.predictions.wait("abc", poll=LEISURE)),
            asyncio.ensure_future(client.with_options(timeout=HANG).predictions.wait("abc")),
        ]
        await until(lambda: service.asked("/predictions/abc"))
        body = ended(output="by webhook")
        run = await client.predictions.handle_webhook(body, signed(body))
        async with asyncio.timeout(HANG):
            assert await asyncio.gather(*waits) == [run, run]
        assert run.output == "by webhook"
        again = ended(output="again")
        await client.predictions.handle_webhook(again.decode(), signed(again))
        assert service.asked("/secret") == 1


async def test_a_webhook_before_the_end_shows_a_change(service: Service) -> None:
    service.states = [{"status": "starting"}]
    async with service.client() as client:
        watch = client.predictions.watch("abc", poll=LEISURE)
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        body = ended(status="processing", completed_at=None, output=["a"])
        await client.predictions.handle_webhook(body, signed(body), secret=WEBHOOK_SECRET)
        returned = WebhookSecret(key=WEBHOOK_SECRET)
        await client.predictions.handle_webhook(body, signed(body), secret=returned)
        async with asyncio.timeout(HANG):
            assert (await waiting).output == ["a"]
    assert service.asked("/secret") == 0


async def test_a_forged_webhook_wakes_no_wait_and_fetches_the_secret_once(
    service: Service,
) -> None:
    service.states = [{"status": "processing"}]
    body = ended()
    forged = signed(body) | {"webhook-signature": "v1,Zm9yZ2Vk"}
    async with service.client() as client:
        waiting = asyncio.ensure_future(client.predictions.wait("abc", poll=LEISURE))
        for _ in range(5):
            with pytest.raises(WebhookVerificationError):
                await client.predictions.handle_webhook(body, forged)
        with pytest.raises(WebhookVerificationError):
            await client.predictions.handle_webhook(body, {})
        assert not waiting.done()
        assert service.asked("/secret") == 2
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_a_secret_that_was_replaced_is_fetched_again(service: Service) -> None:
    old, new = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xk", WEBHOOK_SECRET
    service.secrets = [old, new]
    body = ended()
    async with service.client() as client:
        await client.predictions.handle_webhook(body, signed(body, old))
        runs = await asyncio.gather(
            *(client.predictions.handle_webhook(body, signed(body, new)) for _ in range(3))
        )
        assert "whsec" not in repr(context_of(client).webhook_secret)

    assert [run.id for run in runs] == ["abc"] * 3
    assert service.asked("/secret") == 2


async def test_one_url_takes_the_webhooks_of_both_kinds(service: Service) -> None:
    service.states = [{"status": "processing"}]
    body = msgspec.json.encode(training(service.server.url, status="succeeded") | {"id": "abc"})
    async with service.client() as client:
        waiting = asyncio.ensure_future(client.trainings.wait("abc", poll=LEISURE))
        await until(lambda: service.asked("/trainings/abc"))
        assert isinstance(await client.predictions.handle_webhook(body, signed(body)), Prediction)
        async with asyncio.timeout(HANG):
            run = await waiting
        assert run.output is not None
        found = await client.trainings.handle_webhook(body, signed(body))
        assert found == run
