"""Waiting for a run, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest

from replicate_async import (
    ClientStateError,
    InvalidArgumentError,
    NotFoundError,
    Poll,
    Prediction,
    PredictionGone,
    Replicate,
    Training,
    WaitTimeout,
)
from replicate_async.core.problem import parse
from replicate_async.errors import status_error
from replicate_async.local import LocalReplicate
from replicate_async.runs.waiting.listed_run import RawPage
from replicate_async.runs.waiting.run_api import RunApi
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from tests.support.replies import prediction
from tests.support.virtual_time import run_virtually

TERMINAL: Final = ("succeeded", "failed", "canceled", "aborted")
FLAT: Final = Poll(first=1.0, starting=1.0, processing=1.0)


def run(status: str, **changes: object) -> Prediction:
    body = prediction("https://api.replicate.com/v1", id="abc", status=status) | changes
    return msgspec.convert(body, Prediction)


def not_found() -> Exception:
    problem = parse(404, "application/json", b'{"detail":"Not found"}')
    return status_error(problem, operation="GET /predictions", retry_after=None)


class World:
    """An API that answers as it was told, on a clock that takes no time."""

    def __init__(self, *answers: Prediction | Exception, takes: float = 0.0) -> None:
        self.now = 100.0
        self.asked_at: list[float] = []
        self.jitter = 0.0
        self._answers = list(answers)
        self._takes = takes
        self._tracker = RunTracker(jitter=lambda: self.jitter)

    @property
    def slept(self) -> list[float]:
        times = [0.0, *self.asked_at]
        pauses = [round(after - before, 9) for before, after in itertools.pairwise(times)]
        return [pause for pause in pauses if pause]

    async def fetch(self, run_id: str) -> Prediction:
        assert run_id == "abc"
        self.asked_at.append(asyncio.get_running_loop().time() - 100.0)
        await asyncio.sleep(self._takes)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def no_pages(self, _after: object, _before: object) -> RawPage:
        raise AssertionError("a single run is not worth a page")

    def wait(
        self,
        last: Prediction | None = None,
        *,
        timeout: float | None = 600.0,
        queue_timeout: float | None = None,
        poll: Poll | None = FLAT,
        jitter: float = 0.0,
    ) -> Prediction:
        self.jitter = jitter
        source = RunApi("prediction", Prediction, self.fetch, self.no_pages, windowed=True)

        async def main() -> Prediction:
            try:
                return await PredictionWaits(self._tracker, source).wait(
                    "abc",
                    WaitOptions(timeout=timeout, queue_timeout=queue_timeout, poll=poll),
                    last=last,
                )
            finally:
                self.now = asyncio.get_running_loop().time()
                assert len(self._tracker) == 0

        return run_virtually(main())


@pytest.mark.parametrize("status", TERMINAL)
def test_a_run_is_polled_until_it_has_ended(status: str) -> None:
    world = World(run("starting"), run("processing"), run(status))

    assert (world.wait()).status == status
    assert world.asked_at == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("status", TERMINAL)
def test_a_run_that_is_known_to_have_ended_is_not_polled(status: str) -> None:
    world = World(run("processing"))
    ended = run(status)

    assert world.wait(ended) is ended
    assert (world.asked_at, world.slept) == ([], [])


def test_a_run_whose_state_is_known_is_polled_after_a_pause() -> None:
    world = World(run("succeeded"))

    world.wait(run("starting"))

    assert world.asked_at == [1.0]


def test_an_unknown_status_does_not_end_a_wait() -> None:
    going = run("warming-up")
    over = run("exploded", completed_at="2026-03-16T12:00:00Z")
    world = World(going, going, over)

    status: str = world.wait().status
    assert status == "exploded"
    assert len(world.asked_at) == 3


def test_a_completed_at_does_not_end_a_run_that_is_processing() -> None:
    odd = run("processing", completed_at="2026-03-16T12:00:00Z")
    world = World(odd, run("succeeded"))

    assert (world.wait()).status == "succeeded"


def test_a_run_may_be_unknown_just_after_it_was_made() -> None:
    world = World(not_found(), not_found(), not_found(), run("succeeded"))

    assert (world.wait(run("starting"))).status == "succeeded"
    assert len(world.asked_at) == 4


def test_a_run_that_stays_unknown_is_not_found() -> None:
    world = World(not_found())

    with pytest.raises(NotFoundError):
        world.wait(jitter=0.999)

    assert 30.0 <= world.asked_at[-1] - world.asked_at[0] <= 36.0
    assert len(world.asked_at) < 15


def test_a_run_that_was_seen_and_is_not_found_any_more_is_gone() -> None:
    world = World(run("processing"), not_found())

    with pytest.raises(PredictionGone) as caught:
        world.wait()

    assert str(caught.value).startswith(
        "abc, last seen processing, was not found by any poll for 30 s: it was deleted"
    )
    assert "predictions.wait('abc')" in str(caught.value)
    assert caught.value.prediction == caught.value.last == run("processing")
    assert 30.0 <= world.asked_at[-1] - world.asked_at[1] <= 36.0


def test_a_fatal_error_of_a_poll_ends_the_wait() -> None:
    world = World(run("processing"), ClientStateError("This client is closed."))

    with pytest.raises(ClientStateError, match="is closed"):
        world.wait()

    assert len(world.asked_at) == 2


def test_waiting_ends_at_its_timeout_and_not_before() -> None:
    world = World(run("processing"))

    with pytest.raises(WaitTimeout) as caught:
        world.wait(timeout=10.5)

    assert world.now - 100.0 == pytest.approx(10.5)
    assert world.asked_at == [float(second) for second in range(11)]
    assert caught.value.last == run("processing")
    assert str(caught.value) == (
        "abc is still processing after 10.5 s of waiting; it goes on. Wait again, cancel it, or "
        "pass a longer timeout=."
    )


def test_an_answer_that_does_not_come_ends_half_a_minute_after_the_timeout() -> None:
    world = World(run("succeeded"), takes=1e6)

    with pytest.raises(WaitTimeout, match=r"was never seen after 0\.01 s of waiting"):
        world.wait(timeout=0.01)

    assert world.now - 100.0 == pytest.approx(30.01)


def test_a_timeout_error_of_a_poll_is_not_a_wait_timeout() -> None:
    world = World(TimeoutError("of a fetch"))

    with pytest.raises(TimeoutError, match="of a fetch"):
        world.wait(timeout=5)


@pytest.mark.anyio
async def test_a_number_as_the_pace_is_refused(client: Replicate) -> None:
    with pytest.raises(InvalidArgumentError, match=r"poll=0.5 must be a Poll"):
        await client.predictions.wait("abc", poll=0.5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake


def test_a_timeout_of_zero_polls_once() -> None:
    ended, going = World(run("succeeded")), World(run("starting"))

    assert (ended.wait(timeout=0)).status == "succeeded"
    with pytest.raises(WaitTimeout):
        going.wait(timeout=0, queue_timeout=0)
    assert going.asked_at == [0.0]


def test_slow_answers_count_as_waiting() -> None:
    world = World(run("processing"), takes=4.0)

    with pytest.raises(WaitTimeout):
        world.wait(timeout=9.5)

    assert world.asked_at == [0.0, 5.0, 10.0]
    assert world.now - 100.0 == pytest.approx(4.0 + 9.5, abs=0.6)


def test_without_a_timeout_a_wait_goes_on() -> None:
    world = World(*[run("starting")] * 20_000, run("succeeded"))

    assert (world.wait(timeout=None)).status == "succeeded"
    assert world.now > 20_000


def test_polls_slow_down_and_speed_up_again_with_the_status() -> None:
    poll = Poll()
    world = World(*[run("starting")] * 30, *[run("processing")] * 30, run("succeeded"))

    world.wait(run("starting"), poll=poll)

    starting, processing = world.slept[:31], world.slept[31:]
    assert starting[0] == pytest.approx(poll.first)
    assert starting == sorted(starting)
    assert starting[-1] == pytest.approx(poll.starting)
    assert processing[0] < 1.0
    assert processing == sorted(processing)
    assert processing[-1] == pytest.approx(poll.processing)


def test_jitter_shortens_the_pauses() -> None:
    full, short = (World(run("starting"), run("starting"), run("succeeded")) for _ in range(2))

    full.wait(jitter=0.0)
    short.wait(jitter=0.999)

    assert full.slept == [1.0, 1.0]
    assert all(0.8 <= pause < 0.81 for pause in short.slept)


def test_a_minute_of_work_is_polled_some_dozens_of_times() -> None:
    world = World(run("processing"))

    with pytest.raises(WaitTimeout):
        world.wait(poll=Poll(), timeout=60.0)

    assert 30 < len(world.asked_at) < 60


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.anyio
async def test_a_client_waits_for_a_run(
    server: LocalReplicate, client: Replicate, by_id: bool
) -> None:
    made = await client.predictions.create("local/slow", {"seconds": 0.05, "steps": 1})

    ended = await client.predictions.wait(made.id if by_id else made, poll=Poll(first=0.01))

    assert (ended.id, ended.status) == (made.id, "succeeded")
    assert await client.predictions.wait(ended) is ended


@pytest.mark.anyio
async def test_a_client_returns_a_failure_as_it_is(client: Replicate) -> None:
    made = await client.predictions.create("local/fail", {"message": "no luck"})

    ended = await client.predictions.wait(made)

    assert (ended.status, ended.error) == ("failed", "no luck")


@pytest.mark.anyio
async def test_a_run_goes_on_after_the_timeout_of_its_wait(client: Replicate) -> None:
    made = await client.predictions.create("local/slow", {"seconds": 60})

    with pytest.raises(WaitTimeout) as caught:
        await client.predictions.wait(made, timeout=0.05)

    assert caught.value.last is not None
    assert not (await client.predictions.get(made)).done


def test_a_wait_for_an_unknown_run_ends_at_its_timeout() -> None:
    world = World(not_found())

    with pytest.raises(WaitTimeout, match="abc was never seen after 3 s"):
        world.wait(timeout=3.0, queue_timeout=3.0)


def test_trainings_and_predictions_end_alike() -> None:
    kinds: Sequence[type[Prediction | Training]] = (Prediction, Training)
    for kind in kinds:
        for status in TERMINAL:
            body: dict[str, object] = {"id": "abc", "status": status, "urls": {}}
            assert msgspec.convert(body, kind).done
