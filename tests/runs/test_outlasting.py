"""Waits that outlast trouble between them and the API, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import msgspec
import pytest

from replicate_async import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    DecodeError,
    NotFoundError,
    Poll,
    Prediction,
    PredictionGone,
    RedirectError,
    TLSError,
    WaitTimeout,
)
from replicate_async.core.problem import parse
from replicate_async.errors import LimiterError, status_error
from replicate_async.runs.waiting.listed_run import RawPage
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.runs.waiting.watch import PredictionWaits
from tests.runs.world import World
from tests.support.virtual_time import run_virtually

PACE = Poll(first=1.0, starting=1.0, processing=1.0)


def status(code: int, retry_after: float | None = None) -> Exception:
    problem = parse(code, "application/json", b'{"detail":"odd"}')
    return status_error(problem, operation="GET /predictions", retry_after=retry_after)


NOTHING = [
    APIConnectionError("No network."),
    DecodeError("A page of a proxy."),
    LimiterError("No Redis."),
    *map(status, (408, 409, 425, 429, 500, 502, 503, 504, 529)),
]
REFUSED = [
    *map(status, (400, 401, 402, 403, 404, 410, 422)),
    TLSError("The certificate is not valid."),
    RedirectError("Redirected.", status=302, location="https://portal.example"),
]


class Broken:
    """A world whose polls fail with *error* between two times of its own clock."""

    def __init__(self, error: Exception, begin: float, end: float) -> None:
        self.world = World()
        self.error = error
        self.begin, self.end = begin, end
        self.asked: list[float] = []
        self.failed: list[float] = []
        source = replace(self.world.api.source(), get=self.get, page=self.page)
        self.waits = PredictionWaits(self.world.tracker, source)

    def _fails(self) -> bool:
        now = asyncio.get_running_loop().time() - 100.0
        self.asked.append(now)
        if self.begin <= now < self.end:
            self.failed.append(now)
            return True
        return False

    async def get(self, name: str) -> Prediction:
        fails = self._fails()
        found = await self.world.api.get(name)
        if fails:
            raise self.error
        return found

    async def page(self, after: datetime | None, before: datetime | None) -> RawPage:
        fails = self._fails()
        found = await self.world.api.page(after, before)
        if fails:
            raise self.error
        return found

    async def wait(
        self,
        run: Prediction,
        *,
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
    ) -> Prediction:
        return await self.waits.wait(
            run.id, WaitOptions(timeout=timeout, queue_timeout=queue_timeout, poll=poll), last=run
        )


def name_of(error: Exception) -> str:
    code = getattr(error, "status", "")
    return f"{type(error).__name__} {code}"


@pytest.mark.parametrize("error", NOTHING, ids=name_of)
def test_a_poll_that_fails_for_a_while_is_repeated(error: Exception) -> None:
    broken = Broken(error, 2.0, 600.0)

    async def main() -> Prediction:
        return await broken.wait(broken.world.api.create(60.0), poll=PACE)

    assert run_virtually(main()).status == "succeeded"
    assert 100 < len(broken.failed) < 200
    assert broken.asked[-1] - 600.0 < 6.0


@pytest.mark.parametrize("error", REFUSED, ids=name_of)
def test_refusals_for_less_than_half_a_minute_end_no_wait(error: Exception) -> None:
    broken = Broken(error, 2.0, 27.0)

    async def main() -> Prediction:
        return await broken.wait(broken.world.api.create(60.0), poll=PACE)

    assert run_virtually(main()).status == "succeeded"
    assert len(broken.failed) > 4


@pytest.mark.parametrize("error", REFUSED, ids=name_of)
def test_a_wait_ends_when_every_poll_was_refused_for_half_a_minute(error: Exception) -> None:
    broken = Broken(error, 2.0, 1e9)

    async def main() -> Exception:
        run = broken.world.api.create(60.0)
        with pytest.raises((type(error), PredictionGone)) as caught:
            await broken.wait(run, poll=PACE)
        return caught.value

    found = run_virtually(main())

    assert isinstance(found, APIStatusError | TLSError | RedirectError | PredictionGone)
    assert found.prediction is not None
    assert found.prediction.status == "processing"
    assert "predictions.wait('r000000')" in str(found)
    assert "it goes on" not in str(found)
    assert isinstance(found, PredictionGone if isinstance(error, NotFoundError) else type(error))
    assert 30.0 <= broken.failed[-1] - broken.failed[0] < 37.0


def test_refusals_with_an_outage_between_them_end_no_wait() -> None:
    broken = Broken(status(401), 2.0, 100.0)

    async def main() -> Prediction:
        run = broken.world.api.create(60.0)
        waiting = asyncio.ensure_future(broken.wait(run, poll=PACE))
        for at in range(100):
            await asyncio.sleep(1.0)
            broken.error = status(502) if at % 20 > 14 else status(401)
        return await waiting

    assert run_virtually(main()).status == "succeeded"


def test_the_wait_that_the_server_asks_for_is_obeyed() -> None:
    broken = Broken(status(503, retry_after=20.0), 2.0, 50.0)

    async def main() -> Prediction:
        return await broken.wait(broken.world.api.create(30.0), poll=PACE)

    assert run_virtually(main()).status == "succeeded"
    assert len(broken.failed) <= 3


@pytest.mark.parametrize("error", [status(502), status(401)], ids=name_of)
@pytest.mark.parametrize(
    "waits", [40, 400, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_an_outage_backs_off_once_for_all_waits(error: Exception, waits: int) -> None:
    broken = Broken(error, 20.0, 20.0 + (600.0 if isinstance(error, type(status(502))) else 25.0))

    async def main() -> list[Prediction]:
        runs = [broken.world.api.create(60.0) for _ in range(waits)]
        return await asyncio.gather(*(broken.wait(run) for run in runs))

    ended = run_virtually(main())

    assert [run.status for run in ended] == ["succeeded"] * waits
    lasted = broken.end - broken.begin
    # Those that were under way when it began, and one in a few seconds.
    assert len(broken.failed) < 24 + min(waits, 256) + lasted / 2 + 20


def test_a_token_that_is_refused_for_all_ends_all_waits() -> None:
    broken = Broken(status(401), 5.0, 1e9)

    async def main() -> list[Prediction | BaseException]:
        runs = [broken.world.api.create(600.0) for _ in range(300)]
        return await asyncio.gather(*map(broken.wait, runs), return_exceptions=True)

    for error in run_virtually(main()):
        assert isinstance(error, AuthenticationError)
        assert error.prediction is not None
        assert error.prediction.status in ("starting", "processing")
        assert f"predictions.wait('{error.prediction.id}')" in str(error)


def test_a_run_that_cannot_be_polled_delays_no_others() -> None:
    world = World()
    hidden = status(403)

    async def get(name: str) -> Prediction:
        if name == "r000000":
            raise hidden
        return await world.api.get(name)

    async def main() -> list[float]:
        bad = world.api.create(5.0)
        waits = PredictionWaits(world.tracker, replace(world.api.source(), get=get))
        refused = asyncio.ensure_future(waits.wait(bad.id, WaitOptions(), last=bad))
        delays = [await world.run(2.0) for _ in range(10)]
        with pytest.raises(type(hidden)):
            await refused
        return delays

    assert max(run_virtually(main())) < 3.0


@pytest.mark.parametrize("timeout", [5.0, 50.0])
def test_an_outage_that_outlasts_the_timeout_ends_there_and_says_so(timeout: float) -> None:
    broken = Broken(status(502), 2.0, 1e9)

    async def main() -> WaitTimeout:
        run = broken.world.api.create(600.0)
        with pytest.raises(WaitTimeout) as caught:
            await broken.wait(run, timeout=timeout, queue_timeout=1e6, poll=PACE)
        at = asyncio.get_running_loop().time() - 100.0
        assert timeout <= at <= timeout + 3.0
        return caught.value

    error = run_virtually(main())

    assert error.prediction is not None
    assert error.prediction.status == "processing"
    assert (error.bound, error.seconds) == ("timeout", timeout)
    assert "answered 502" in error.poll_error
    assert error.poll_error in str(error)


def test_time_without_any_answer_is_bounded_by_the_timeout_and_half_a_minute() -> None:
    broken = Broken(APIConnectionError("No network."), 0.0, 1e9)

    async def main() -> float:
        run = broken.world.api.create(600.0)
        with pytest.raises(WaitTimeout, match="was last seen starting") as caught:
            await broken.wait(run, timeout=3.0, queue_timeout=1e6)
        assert caught.value.bound == "timeout"
        return asyncio.get_running_loop().time() - 100.0

    assert 33.0 <= run_virtually(main()) < 35.0


def test_without_a_timeout_a_wait_outlasts_an_outage_and_can_be_cancelled() -> None:
    broken = Broken(status(502), 2.0, 1e9)

    async def main() -> None:
        run = broken.world.api.create(600.0)
        waiting = asyncio.ensure_future(broken.wait(run))
        await asyncio.sleep(86_400.0)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(broken.world.tracker) == 0

    run_virtually(main())


def test_a_webhook_ends_a_wait_whose_polls_are_paused() -> None:
    broken = Broken(status(502), 2.0, 1e9)

    async def main() -> list[Prediction]:
        runs = [broken.world.api.create(600.0) for _ in range(30)]
        waiting = [asyncio.ensure_future(broken.wait(run)) for run in runs]
        await asyncio.sleep(60.0)
        for run in runs:
            ended = msgspec.structs.replace(run, status="succeeded")
            broken.world.tracker.notify("prediction", ended)
        return await asyncio.gather(*waiting)

    assert {run.status for run in run_virtually(main())} == {"succeeded"}


@pytest.mark.parametrize("left", ["one by one", "at once"])
def test_waits_that_are_cancelled_in_an_outage_delay_no_others_after_it(left: str) -> None:
    broken = Broken(status(502), 2.0, 200.0)

    async def main() -> list[Prediction | BaseException]:
        runs = [broken.world.api.create(60.0) for _ in range(40)]
        waiting = [asyncio.ensure_future(broken.wait(run)) for run in runs]
        await asyncio.sleep(20.0)
        for wait in waiting[:30]:
            wait.cancel()
            if left == "one by one":
                await asyncio.sleep(0.7)
        return await asyncio.gather(*waiting[30:])

    found = run_virtually(main())
    assert {run.status for run in found if isinstance(run, Prediction)} == {"succeeded"}
    assert len(found) == 10


def test_a_watch_outlasts_an_outage() -> None:
    broken = Broken(status(502), 1.0, 50.0)

    async def main() -> list[str]:
        run = broken.world.api.create(60.0, queue=30.0)
        watch = broken.waits.watch(run.id, WaitOptions(poll=PACE), last=run)
        return [change.status async for change in watch]

    assert run_virtually(main()) == ["processing", "succeeded"]
