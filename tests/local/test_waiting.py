from __future__ import annotations

import asyncio

import pytest

from replicate_async.local import LocalReplicate, Settings
from tests.local.conftest import Gate
from tests.local.wire import Answer, Wire, header

pytestmark = pytest.mark.anyio


async def create(wire: Wire, model: str, headers: dict[str, str], **input: object) -> Answer:
    version = (await wire.get(f"/models/{model}"))["latest_version"]["id"]
    body = {"version": version, "input": input}
    return await wire.ask("POST", "/predictions", json=body, headers=headers)


@pytest.mark.parametrize("prefer", ["wait", "wait=10", "wait=99"])
async def test_waiting_returns_the_output(wire: Wire, prefer: str) -> None:
    answer = await create(wire, "acme/echo", {"Prefer": prefer}, text="a")

    assert answer.status == 201
    assert header(answer, "Preference-Applied") == prefer
    assert header(answer, "Location") == answer.json["urls"]["get"]
    assert header(answer, "Content-Type") == "application/json; charset=UTF-8"
    assert not answer.body.endswith(b"\n")
    assert (answer.json["status"], answer.json["output"]) == ("succeeded", "a")


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=-1", "wait=", "wait = 5", ""])
async def test_other_preferences_do_not_wait(wire: Wire, gate: Gate, prefer: str) -> None:
    answer = await create(wire, "acme/gated", {"Prefer": prefer})

    assert (answer.status, answer.json["status"]) == (201, "starting")
    assert header(answer, "Preference-Applied") is None
    gate.open.set()


async def test_a_wait_that_ends_before_the_run_answers_202(wire: Wire, gate: Gate) -> None:
    held = asyncio.create_task(create(wire, "acme/gated", {"Prefer": "wait=2"}))
    await gate.entered.wait()

    wire.server.advance(2)

    answer = await held
    assert (answer.status, answer.json["status"]) == (202, "processing")
    assert answer.json["output"] is None
    assert header(answer, "Preference-Applied") == "wait=2"
    gate.open.set()


async def test_a_failure_within_the_wait_is_no_http_error(wire: Wire) -> None:
    answer = await create(wire, "acme/broken", {"Prefer": "wait"})

    assert (answer.status, answer.json["status"]) == (201, "failed")


async def test_a_disconnected_client_leaves_its_prediction_running(wire: Wire, gate: Gate) -> None:
    held = asyncio.create_task(create(wire, "acme/gated", {"Prefer": "wait"}))
    await gate.entered.wait()

    held.cancel()
    await asyncio.wait({held})

    gate.open.set()
    (prediction,) = (await wire.get("/predictions"))["results"]
    assert (await wire.ended(prediction["id"]))["status"] == "succeeded"


class TestEarlyAnswers:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(sync_answer="processing")

    async def test_outputs_can_come_before_the_end(self, wire: Wire) -> None:
        answer = await create(wire, "acme/draw", {"Prefer": "wait"}, text="hi")

        assert answer.status == 201
        assert answer.json["status"] == "processing"
        assert answer.json["output"] == ["data:text/plain;base64,aGk="] * 2
        assert not {"started_at", "completed_at", "metrics"} & answer.json.keys()
        assert answer.json["logs"] == ""


class TestDeadlines:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(run_timeout=100_000)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("5", 5), ("90s", 90), ("5m", 300), ("2h30m", 9000), ("1h30m45s", 5445), ("24h", 86400)],
    )
    async def test_cancel_after_sets_a_deadline(
        self, wire: Wire, gate: Gate, value: str, seconds: int
    ) -> None:
        answer = await create(wire, "acme/gated", {"Cancel-After": value})
        prediction = answer.json
        await gate.entered.wait()
        assert "deadline" in prediction

        wire.server.advance(seconds - 4)
        assert (await wire.get(f"/predictions/{prediction['id']}"))["status"] == "processing"
        wire.server.advance(5)

        ended = await wire.get(f"/predictions/{prediction['id']}")
        assert (ended["status"], ended["deadline"]) == ("canceled", prediction["deadline"])
        await gate.cancelled.wait()


@pytest.mark.parametrize(
    "value", ["4", "25h", "1d", "5m1h", "", "m", "-5", "1.5h", "9" * 30, "5 m"]
)
async def test_invalid_deadlines_are_refused(wire: Wire, value: str) -> None:
    answer = await create(wire, "acme/echo", {"Cancel-After": value}, text="a")

    assert answer.status == 422
    assert "Cancel-After" in answer.json["detail"]
    assert (await wire.get("/predictions"))["results"] == []


class TestOneSlot:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(concurrency=1)

    async def test_a_run_that_never_began_is_aborted(self, wire: Wire, gate: Gate) -> None:
        await create(wire, "acme/gated", {})
        queued = await create(wire, "acme/gated", {"Cancel-After": "5"})

        wire.server.advance(6)

        ended = await wire.get(f"/predictions/{queued.json['id']}")
        assert ended["status"] == "aborted"
        assert "started_at" not in ended
        gate.open.set()

    async def test_a_run_that_takes_too_long_fails(self, wire: Wire, gate: Gate) -> None:
        answer = await create(wire, "acme/gated", {})
        await gate.entered.wait()

        wire.server.advance(1801)

        ended = await wire.get(f"/predictions/{answer.json['id']}")
        assert ended["status"] == "failed"
        assert "timed out" in ended["error"]
        await gate.cancelled.wait()


async def test_closing_cancels_runs(server: LocalReplicate, wire: Wire, gate: Gate) -> None:
    held = asyncio.create_task(create(wire, "acme/gated", {"Prefer": "wait"}))
    await gate.entered.wait()

    await server.close()

    assert gate.cancelled.is_set()
    assert (await held).json["status"] == "canceled"
