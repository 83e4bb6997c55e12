"""Runs that failed because of the service, and are repeated."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Final

import anyio
import msgspec
import pytest

from replicate_async import (
    AmbiguousCreateError,
    InvalidArgumentError,
    PaymentRequiredError,
    Poll,
    Prediction,
    PredictionAborted,
    PredictionCanceled,
    PredictionError,
    PredictionFailed,
    Replicate,
    TypedModel,
    WaitTimeout,
)
from replicate_async.errors import prediction_error
from replicate_async.local import LocalReplicate
from tests.runs.batch.api import MODEL, BatchAPI, Made, client_of
from tests.support.cancel_sweep import cancel_sweep
from tests.support.fault_server import FaultServer
from tests.support.replies import problem

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock]

PA: Final = "Prediction interrupted; please retry (code: PA)"
INPUT: Final = {"n": 1}
SELDOM: Final = Poll(first=4, processing=4)

Run = Callable[[Replicate], Awaitable[object]]


class Input(msgspec.Struct, kw_only=True):
    n: int


TYPED: Final = TypedModel(MODEL, input=Input, output=dict[str, int])
SCHEMA: Final = {
    "components": {
        "schemas": {
            "Input": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "Output": {"type": "object"},
        }
    }
}


def ending(*ends: str | None) -> Callable[[Made], None]:
    """Let the predictions end one after the other: aborted, canceled, with an error, or well."""
    left: Iterator[str | None] = iter(ends)

    def outcome(made: Made) -> None:
        end = next(left)
        if end is not None:
            made.status = end if end in {"aborted", "canceled"} else "failed"
            made.error = end if made.status == "failed" else None

    return outcome


@asynccontextmanager
async def served(api: BatchAPI) -> AsyncGenerator[tuple[FaultServer, Replicate]]:
    async with api.server() as server, client_of(server.url) as client:
        yield server, client


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    "end",
    [
        PA,
        "Timed out starting the prediction (E6716)",
        "The prediction was stopped (E8367)",
        "A health check failed (E8765)",
        "Director: could not start (E9243)",
        "Director: could not upload the output (E9825)",
        "Director: unexpected error handling prediction (E9828)",
        "aborted",
    ],
)
async def test_a_failure_of_the_service_is_repeated(end: str) -> None:
    api = BatchAPI(outcome=ending(end, None))
    async with served(api) as (_, client):
        assert await client.run(MODEL, INPUT, retries=1) == INPUT

    assert api.creates == 2


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("ValueError: no such voice", PredictionFailed),
        ("The input or output was flagged as sensitive. (E005)", PredictionFailed),
        ("CUDA out of memory (E1001)", PredictionFailed),
        ("canceled", PredictionCanceled),
    ],
)
async def test_other_ends_are_not_repeated(end: str, kind: type[PredictionError]) -> None:
    api = BatchAPI(outcome=ending(end))
    async with served(api) as (_, client):
        with pytest.raises(kind) as caught:
            await client.run(MODEL, INPUT, retries=5)

    assert api.creates == 1
    assert caught.value.earlier == ()
    assert "attempt" not in str(caught.value)


@pytest.mark.parametrize(("end", "kind"), [(PA, PredictionFailed), ("aborted", PredictionAborted)])
async def test_nothing_is_repeated_unless_asked(end: str, kind: type[PredictionError]) -> None:
    api = BatchAPI(outcome=ending(end))
    async with served(api) as (_, client):
        with pytest.raises(kind):
            await client.run(MODEL, INPUT)

    assert api.creates == 1


async def test_the_last_failure_has_the_earlier_ones_and_the_number_of_attempts() -> None:
    api = BatchAPI(outcome=ending(PA, "aborted", PA))
    async with served(api) as (_, client):
        with pytest.raises(PredictionFailed, match=r"\(code: PA\) \(attempt 3 of 3\)$") as caught:
            await client.run(MODEL, INPUT, retries=2, poll=SELDOM)

    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert [failed.id for failed in (*error.earlier, error.prediction)] == [
        made.id for made in api.made
    ]
    assert [failed.status for failed in error.earlier] == ["failed", "aborted"]
    assert api.creates == 3


async def test_a_repeat_that_the_model_refuses_is_the_last() -> None:
    api = BatchAPI(outcome=ending(PA, "ValueError: no such voice"))
    async with served(api) as (_, client):
        with pytest.raises(PredictionFailed, match=r"voice \(attempt 2 of 6\)$") as caught:
            await client.run(MODEL, INPUT, retries=5)

    assert [failed.id for failed in caught.value.earlier] == [api.made[0].id]
    assert api.creates == 2


async def test_pauses_double_up_to_30_seconds() -> None:
    created: list[float] = []
    api = BatchAPI(outcome=ending(*[PA] * 7, None), seen=lambda _, __: created.append(now()))
    async with served(api) as (_, client):
        await client.run(MODEL, INPUT, retries=7)

    times = sorted({round(time) for time in created})
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30], abs=1)


async def test_a_repeat_whose_create_is_lost_is_not_sent_again() -> None:
    api = BatchAPI(outcome=ending(PA, None), lose=lambda number: number == 2)
    async with served(api) as (_, client):
        with pytest.raises(AmbiguousCreateError) as caught:
            await client.run(MODEL, INPUT, retries=5)

    assert api.creates == 2
    assert caught.value.__notes__ == [
        f"It ended attempt 2 of 6; these predictions failed before it: {api.made[0].id}."
    ]


async def test_a_first_create_that_is_lost_is_not_sent_again() -> None:
    api = BatchAPI(lose=lambda _: True)
    async with served(api) as (_, client):
        with pytest.raises(AmbiguousCreateError) as caught:
            await client.run(MODEL, INPUT, retries=5)

    assert api.creates == 1
    assert not hasattr(caught.value, "__notes__")


async def test_a_repeat_that_is_refused_is_the_last() -> None:
    refused = problem(402)
    api = BatchAPI(outcome=ending(PA), refuse=lambda number: refused if number > 1 else None)
    async with served(api) as (_, client):
        with pytest.raises(PaymentRequiredError) as caught:
            await client.run(MODEL, INPUT, retries=5)

    assert api.creates == 2
    assert api.made[0].id in caught.value.__notes__[0]


async def test_a_wait_that_times_out_is_not_repeated() -> None:
    api = BatchAPI(seconds=60.0)
    async with served(api) as (_, client):
        with pytest.raises(WaitTimeout):
            await client.run(MODEL, INPUT, retries=5, timeout=2)

    assert [made.canceled for made in api.made] == [True]


async def test_the_time_limits_are_those_of_each_attempt() -> None:
    api = BatchAPI(seconds=8.0, outcome=ending(PA, PA, None))
    async with served(api) as (_, client):
        assert await client.run(MODEL, INPUT, retries=2, timeout=15, poll=SELDOM) == INPUT


async def test_a_repeat_has_the_deadline_that_is_left() -> None:
    api = BatchAPI(seconds=20.0, outcome=ending(PA, PA, None))
    async with served(api) as (server, client):
        with anyio.fail_after(100):
            await client.run(MODEL, INPUT, retries=2, poll=SELDOM)
        with anyio.fail_after(100):
            api.outcome = ending(PA, None)
            await client.run(MODEL, INPUT, retries=1, cancel_after="50s", poll=SELDOM)

    sent = [request.header("Cancel-After") for request in server.requests]
    first, second, third, *given = [deadline for deadline in sent if deadline]
    assert first == "100s"
    assert 60 < int(second.rstrip("s")) < 80
    assert 30 < int(third.rstrip("s")) < 58
    assert given == ["50s", "50s"]


async def test_each_prediction_is_shown_to_on_update() -> None:
    seen: list[Prediction] = []
    api = BatchAPI(seconds=1.0, outcome=ending(PA, None))
    async with served(api) as (_, client):
        await client.run(MODEL, INPUT, retries=1, on_update=seen.append)

    first, second = (made.id for made in api.made)
    assert [(shown.id, shown.status) for shown in seen] == [
        (first, "processing"),
        (first, "failed"),
        (second, "processing"),
        (second, "succeeded"),
    ]


async def test_an_error_of_on_update_is_not_repeated() -> None:
    interrupted = msgspec.convert({"id": "other", "status": "failed", "error": PA}, Prediction)

    def refuse(_: Prediction) -> None:
        raise prediction_error(interrupted)

    api = BatchAPI(seconds=1.0)
    async with served(api) as (_, client):
        with pytest.raises(PredictionFailed, match="other"):
            await client.run(MODEL, INPUT, retries=1, on_update=refuse)

    assert [made.canceled for made in api.made] == [True]


async def test_each_prediction_is_counted_once() -> None:
    api = BatchAPI(seconds=1.0, outcome=ending(PA, "aborted", None))
    async with served(api) as (_, client):
        await client.run(MODEL, INPUT, retries=2, poll=SELDOM)
        used = client.usage[MODEL]

    assert (used.predictions, used.predict_seconds) == (3, 1.5)


async def test_a_cancellation_in_the_pause_leaves_nothing_running() -> None:
    api = BatchAPI(outcome=ending(*[PA] * 9))
    async with served(api) as (server, client):
        running = asyncio.ensure_future(client.run(MODEL, INPUT, retries=8))
        await asyncio.sleep(5.0)  # of the third pause, which lasts until the seventh second
        assert client.usage.total.predictions == 3
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        requests = len(server.requests)
        await asyncio.sleep(300)

        assert len(server.requests) == requests
    assert api.creates == 3
    assert api.running() == 0


async def test_a_cancellation_of_a_repeat_cancels_its_prediction() -> None:
    api = BatchAPI(seconds=10.0, outcome=ending(PA, None))
    async with served(api) as (_, client):
        running = asyncio.ensure_future(client.run(MODEL, INPUT, retries=8))
        await asyncio.sleep(15.0)  # the first has ended after 10 seconds
        assert api.creates == 2
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert [made.canceled for made in api.made] == [False, True]


@pytest.mark.virtual_clock(settle=0.005)
async def test_a_repeated_run_cancelled_anywhere_leaves_nothing_behind() -> None:
    left: list[int] = []
    created: list[int] = []

    async def scenario() -> None:
        api.outcome, before = ending(PA, PA, None), api.creates
        async with client_of(server.url) as client:
            try:
                await client.run(MODEL, INPUT, retries=2, poll=SELDOM)
            finally:
                left.append(api.running())
                created.append(api.creates - before)

    api = BatchAPI(seconds=6.0)
    async with api.server() as server:
        found = await cancel_sweep(scenario, open_connections=lambda: server.open_connections)

    found.assert_clean()
    assert not any(left)
    assert set(created) == {1, 2, 3}


async def _use(client: Replicate, **options: Any) -> object:
    return await (await client.use(MODEL)).run(INPUT, **options)


RUNS: Final[Mapping[str, Run]] = {
    "typed": lambda client: client.run(TYPED, Input(n=1), retries=1),
    "deployed": lambda client: client.deployments.run(MODEL, INPUT, retries=1),
    "typed and deployed": lambda client: client.deployments.run(
        MODEL, Input(n=1), model=TYPED, retries=1
    ),
    "bound": lambda client: _use(client, retries=1),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
async def test_every_way_to_run_repeats(run: Run) -> None:
    api = BatchAPI(outcome=ending(PA, None), schema=SCHEMA)
    async with served(api) as (_, client):
        assert await run(client) == INPUT

    assert api.creates == 2


@pytest.mark.parametrize("retries", [-1, 101, True, False, 1.0, "2", None])
async def test_a_wrong_number_is_refused_before_anything_is_sent(retries: Any) -> None:
    async with served(BatchAPI()) as (server, client):
        refused = pytest.raises(InvalidArgumentError, match=r"^retries=.* from 0 to 100\.$")
        with refused:
            await client.run(MODEL, INPUT, retries=retries)
        with refused:
            await client.deployments.run(MODEL, INPUT, retries=retries)
        with refused:
            client.batch(MODEL, [INPUT], retries=retries)

        assert not server.requests


async def test_uploads_are_sent_once_and_deleted_at_the_end(
    server: LocalReplicate, client: Replicate
) -> None:
    runs = 0

    @server.model("acme/size", official=True)
    async def size(file: str) -> str:
        nonlocal runs
        runs += 1
        assert len([each async for each in client.files.list()]) == 1
        if runs < 3:
            raise RuntimeError(PA)
        return file

    large = b"x" * 300_000
    await client.run("acme/size", {"file": large}, retries=2, delete_uploads=True)

    assert runs == 3
    assert [each async for each in client.files.list()] == []
