from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
import pytest

from replicate_async import (
    AmbiguousConflictError,
    ConflictError,
    ContentTooLargeError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    Prediction,
    RateLimitError,
    Replicate,
    Retry,
    UnprocessableEntityError,
    UntrustedURLError,
)
from replicate_async.local import LocalReplicate, RateLimits, Settings
from tests.resources.test_deployments import version_of
from tests.support.embedded import Cold, embedded, until
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, model, prediction, problem
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

Create = Callable[[Replicate], Awaitable[Prediction]]

SLOW: Final = {"seconds": 60, "steps": 1}


async def test_a_prediction_is_created_by_the_id_of_a_version(client: Replicate) -> None:
    version = await version_of(client, "replicate/hello-world")

    made = await client.predictions.create(version, {"text": "Alice"})

    assert made.status == "starting"
    assert (made.version, made.model) == (version, "replicate/hello-world")
    assert made.input == {"text": "Alice"}
    ended = await client.predictions.wait(made)
    assert (ended.id, ended.status, ended.output) == (made.id, "succeeded", "hello Alice")
    assert ended.metrics is not None
    assert ended.metrics["total_time"] >= ended.metrics["predict_time"]


async def test_a_version_may_be_named_with_its_model(client: Replicate) -> None:
    version = await version_of(client, "replicate/hello-world")

    made = await client.predictions.create(
        f"replicate/hello-world:{version}", {"text": "Alice"}, wait=5
    )

    assert (made.status, made.output) == ("succeeded", "hello Alice")


async def test_an_official_model_runs_by_its_name(client: Replicate) -> None:
    made = await client.predictions.create("local/echo", {"value": "hi"}, wait=5)

    assert (made.status, made.output) == ("succeeded", "hi")


async def test_a_community_model_runs_by_its_name_too(client: Replicate) -> None:
    made = await client.predictions.create("replicate/hello-world", {"text": "Alice"}, wait=5)

    assert (made.status, made.output) == ("succeeded", "hello Alice")


async def test_a_community_models_version_is_looked_up_once() -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/v1/models/acme/echo/predictions":
            return problem(404)
        if request.path == "/v1/models/acme/echo":
            return json_answer(model())
        return json_answer(prediction(server.url, status="starting"), 201)

    server = FaultServer(answer)
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        for _ in range(3):
            await client.predictions.create("acme/echo", {"text": "x"})
        await client.with_options(timeout=HANG).predictions.create("acme/echo", {"text": "x"})

    assert [(request.method, request.path) for request in server.requests] == [
        ("POST", "/v1/models/acme/echo/predictions"),
        ("GET", "/v1/models/acme/echo"),
        *[("POST", "/v1/predictions")] * 4,
    ]
    assert server.creations == 4


async def test_a_model_without_versions_cannot_run(client: Replicate) -> None:
    await client.models.create("dev/empty", visibility="private", hardware="cpu")

    with pytest.raises(
        NotFoundError, match="There is no model dev/empty that runs without a version"
    ):
        await client.predictions.create("dev/empty")


async def test_an_unknown_model_is_not_found(client: Replicate) -> None:
    with pytest.raises(NotFoundError, match="There is no model acme/nothing, or this token"):
        await client.predictions.create("acme/nothing")


async def test_an_unknown_version_is_not_processable(client: Replicate) -> None:
    with pytest.raises(UnprocessableEntityError) as caught:
        await client.predictions.create("0" * 64, {"text": "x"})

    assert str(caught.value) == (
        "POST /predictions answered 422: Invalid version or not permitted: The specified version "
        "does not exist (or perhaps you don't have permission to use it?). Correct the input; "
        "models.versions.get(...).openapi_schema describes it."
    )


async def test_a_wrong_input_names_its_fields(client: Replicate) -> None:
    with pytest.raises(UnprocessableEntityError) as caught:
        await client.predictions.create("local/slow", {"seconds": -1, "steps": "many"})

    assert {(field.field, field.type) for field in caught.value.invalid_fields} == {
        ("input.seconds", "number_gte"),
        ("input.steps", "invalid_type"),
    }
    assert "input.seconds: Must be greater than or equal to 0" in str(caught.value)


class Colour(StrEnum):
    RED = "red"


class Settled(msgspec.Struct, rename="camel"):
    day_of: date
    colour: Colour


class EchoInput(msgspec.Struct):
    value: Settled
    note: str | None = None


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        (b"hi", "data:application/octet-stream;base64,aGk="),
        (bytearray(b"hi"), "data:application/octet-stream;base64,aGk="),
        ((1, 2.5, True, None), [1, 2.5, True, None]),
        (
            {"deep": [{"er": b"\x00"}]},
            {"deep": [{"er": "data:application/octet-stream;base64,AA=="}]},
        ),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (Colour.RED, "red"),
        (frozenset({"only"}), ["only"]),
        ("\u2028 \ud7ff \x00 ✓", "\u2028 \ud7ff \x00 ✓"),
        (2**60, 2**60),
    ],
)
async def test_inputs_of_many_kinds_arrive_as_json(
    client: Replicate, given: object, arrives: object
) -> None:
    given = {"value": given, "left_out": None}

    assert await client.run("local/echo", given, files=False) == arrives


async def test_a_struct_is_an_input_under_its_encoded_names(client: Replicate) -> None:
    given = EchoInput(value=Settled(day_of=date(2026, 1, 2), colour=Colour.RED))

    made = await client.predictions.create("local/echo", given, wait=5)

    assert made.input == {"value": {"dayOf": "2026-01-02", "colour": "red"}}
    assert made.output == {"dayOf": "2026-01-02", "colour": "red"}


async def test_waiting_holds_the_answer_until_the_end(client: Replicate) -> None:
    for wait in (True, 10):
        made = await client.predictions.create(
            "local/slow", {"seconds": 0.02, "steps": 1}, wait=wait
        )
        assert (made.status, made.output) == ("succeeded", "waited 0.02 seconds in 1 steps")


async def test_a_wait_ends_before_a_run_that_takes_longer(
    server: LocalReplicate, client: Replicate
) -> None:
    entered = asyncio.Event()

    @server.model("acme/held", official=True)
    async def held() -> str:
        entered.set()
        await asyncio.sleep(3600)
        return "never"

    creating = asyncio.ensure_future(client.predictions.create("acme/held", wait=3))
    await entered.wait()
    server.advance(4)

    made = await creating

    assert (made.status, made.output) == ("processing", None)
    assert not made.done


@pytest.mark.parametrize(
    ("wait", "prefer"),
    [(None, None), (False, None), (True, "wait"), (1, "wait=1"), (60, "wait=60")],
)
async def test_wait_is_sent_in_a_header(wait: int | bool | None, prefer: str | None) -> None:
    request = await only_request(lambda client: client.predictions.create("a/b", {}, wait=wait))

    assert request.header("prefer") == prefer


@pytest.mark.parametrize(
    ("cancel_after", "header"),
    [
        (None, None),
        (5, "5s"),
        (86400, "86400s"),
        (timedelta(minutes=2), "120s"),
        ("90", "90"),
        ("90s", "90s"),
        ("1h30m45s", "1h30m45s"),
        ("24h", "24h"),
    ],
)
async def test_cancel_after_is_sent_in_a_header(
    cancel_after: int | str | timedelta | None, header: str | None
) -> None:
    creates: list[Create] = [
        lambda client: client.predictions.create("a/b", {}, cancel_after=cancel_after),
        lambda client: client.models.predictions.create("a/b", {}, cancel_after=cancel_after),
        lambda client: client.deployments.predictions.create("a/b", {}, cancel_after=cancel_after),
    ]
    for create in creates:
        request = await only_request(create)
        assert request.header("cancel-after") == header


async def only_request(create: Create) -> Request:
    def answer(_request: Request) -> Answer:
        return json_answer(prediction(server.url), 201)

    server = FaultServer(answer)
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        await create(client)
    (request,) = server.requests
    return request


async def test_the_body_holds_what_was_given_and_no_more() -> None:
    bare = await only_request(lambda client: client.predictions.create("a/b"))
    full = await only_request(
        lambda client: client.predictions.create(
            "f" * 64,
            {"text": "x", "left_out": None},
            webhook="https://example.com/hook?k=v",
            webhook_events_filter=["start", "logs"],
        )
    )

    assert bare.json() == {"input": {}}
    assert full.json() == {
        "version": "f" * 64,
        "input": {"text": "x"},
        "webhook": "https://example.com/hook?k=v",
        "webhook_events_filter": ["start", "logs"],
    }
    assert full.header("content-type") == "application/json"
    assert full.header("authorization") == f"Bearer {TOKEN}"


async def test_a_run_is_canceled_at_its_deadline(server: LocalReplicate, client: Replicate) -> None:
    made = await client.predictions.create("local/slow", SLOW, cancel_after="5s")
    assert made.deadline is not None
    assert made.created_at is not None
    assert made.deadline - made.created_at == timedelta(seconds=5)

    server.advance(6)

    assert (await client.predictions.get(made)).status == "canceled"


async def test_a_run_that_never_began_is_aborted_at_its_deadline() -> None:
    async with embedded(Settings()) as (server, client):
        server.add_model("acme/cold", Cold)
        made = await client.predictions.create("acme/cold", {"value": 1}, cancel_after=5)
        server.advance(6)
        ended = await client.predictions.get(made)

    assert (ended.status, ended.done, ended.started_at) == ("aborted", True, None)


async def test_a_prediction_is_cancelled_by_id_or_snapshot(client: Replicate) -> None:
    for by_id in (True, False):
        made = await client.predictions.create("local/slow", SLOW)

        canceled = await client.predictions.cancel(made.id if by_id else made)

        assert (canceled.id, canceled.status) == (made.id, "canceled")
        assert canceled.completed_at is not None


async def test_cancelling_what_has_ended_changes_nothing(client: Replicate) -> None:
    made = await client.predictions.create("local/echo", {"value": 1}, wait=5)

    same = await client.predictions.cancel(made)

    assert (same.status, same.output) == ("succeeded", 1)


async def test_data_is_removed_after_an_hour(server: LocalReplicate, client: Replicate) -> None:
    made = await client.predictions.create("local/echo", {"value": 1}, wait=5)

    server.advance(3601)

    bare = await client.predictions.get(made)
    assert (bare.status, bare.output, bare.data_removed) == ("succeeded", None, True)
    assert not bare.input


async def test_predictions_are_listed_newest_first_and_by_time(
    server: LocalReplicate, client: Replicate
) -> None:
    old = await client.predictions.create("local/echo", {"value": 1}, wait=5)
    server.advance(60)
    new = await client.predictions.create("local/echo", {"value": 2}, wait=5)
    assert new.created_at is not None
    between = new.created_at - timedelta(seconds=30)

    async def ids(after: datetime | None = None, before: datetime | None = None) -> list[str]:
        listing = client.predictions.list(created_after=after, created_before=before)
        return [item.id async for item in listing]

    assert await ids() == [new.id, old.id]
    assert await ids(after=between) == [new.id]
    assert await ids(before=between) == [old.id]
    assert await ids(after=between, before=between) == []
    assert [item async for item in client.predictions.list(source="web")] == []


async def test_unknown_predictions_are_not_found(server: LocalReplicate, client: Replicate) -> None:
    made = await client.predictions.create("local/echo", {"value": 1})
    stranger = client.with_options(api_token=server.add_account("stranger"))

    for call in (
        client.predictions.get("nothing"),
        client.predictions.cancel("nothing"),
        stranger.predictions.get(made),
        stranger.predictions.cancel(made),
    ):
        with pytest.raises(NotFoundError):
            await call
    assert [item async for item in stranger.predictions.list()] == []


async def test_a_snapshot_of_another_api_is_not_requested(client: Replicate) -> None:
    elsewhere = msgspec.convert(prediction("https://api.example.com/v1"), Prediction)

    for method in (client.predictions.get, client.predictions.cancel, client.predictions.wait):
        with pytest.raises(UntrustedURLError) as caught:
            await method(elsewhere)
        assert caught.value.url == f"https://api.example.com/v1/predictions/{elsewhere.id}"


async def test_a_request_over_the_limit_is_told_when_to_retry() -> None:
    async with embedded(Settings(rate_limits=RateLimits(create=1))) as (_, client):
        await client.predictions.create("local/echo", {"value": 1})
        with pytest.raises(RateLimitError) as caught:
            await client.predictions.create("local/echo", {"value": 1})

    seconds = caught.value.retry_after
    assert seconds is not None
    assert 0 < seconds <= 60
    assert str(caught.value) == (
        "POST /models/{model_owner}/{model_name}/predictions answered 429: Request was throttled. "
        f"Your rate limit resets in ~{seconds:.0f}s. Wait, then try again; Limits(...) paces "
        "requests on this side."
    )


async def test_a_throttled_create_is_repeated_and_happens_once(
    server: LocalReplicate, client: Replicate
) -> None:
    server.faults.add("models.predictions.create", status=429, headers={"Retry-After": "0"})
    patient = client.with_options(retry=Retry(throttle_base=0.001))

    made = await patient.predictions.create("local/echo", {"value": 1})

    assert [item.id async for item in client.predictions.list()] == [made.id]


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with embedded(Settings(max_body=1000)) as (_, client):
        with pytest.raises(ContentTooLargeError, match="at most 1000 bytes"):
            await client.predictions.create("local/echo", {"value": "x" * 1000})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (409, AmbiguousConflictError),
    ],
)
async def test_other_refusals_have_classes_of_their_own(
    server: LocalReplicate, client: Replicate, status: int, error: type[Exception]
) -> None:
    server.faults.add("models.predictions.create", status=status, body='{"detail": "Not now"}')

    with pytest.raises(error, match="Not now"):
        await client.predictions.create("local/echo", {"value": 1})


async def test_a_conflict_of_a_repeatable_request_is_not_ambiguous(
    server: LocalReplicate, client: Replicate
) -> None:
    server.faults.add("predictions.cancel", status=409)

    with pytest.raises(ConflictError) as caught:
        await client.predictions.cancel("abc")

    assert not isinstance(caught.value, AmbiguousConflictError)


async def test_many_creates_at_once_are_each_their_own(client: Replicate) -> None:
    runs = await asyncio.gather(
        *(client.predictions.create("local/echo", {"value": n}, wait=5) for n in range(50))
    )

    assert [run.output for run in runs] == list(range(50))
    assert len({run.id for run in runs}) == 50


async def test_the_webhook_of_a_run_must_be_a_url_that_can_be_called(
    server: LocalReplicate, client: Replicate
) -> None:
    made = await client.predictions.create(
        "local/echo", {"value": 1}, webhook="https://example.com/hook", wait=5
    )

    # The server reaches only this machine; it says so, and the run goes on.
    assert made.status == "succeeded"
    attempt = await until(lambda: next(iter(server.webhook_attempts), None))
    assert attempt.status is None
