from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from replicate_async.local import LocalReplicate, Settings
from replicate_async.local.store.run_archive import ExpiredRun
from tests.local.conftest import Gate
from tests.local.wire import Wire, header

pytestmark = pytest.mark.anyio

VERSION_REFUSED = {
    "title": "Invalid version or not permitted",
    "detail": "The specified version does not exist (or perhaps you don't have permission to "
    "use it?)",
    "status": 422,
}
NOT_FOUND = {"detail": "The requested resource could not be found.", "status": 404}


async def test_a_fresh_prediction_is_starting(wire: Wire, gate: Gate) -> None:
    version = (await wire.get("/models/acme/gated"))["latest_version"]["id"]

    answer = await wire.ask("POST", "/predictions", json={"version": version, "input": {}})

    assert answer.status == 201
    assert header(answer, "Content-Type") == "application/json"
    assert header(answer, "ratelimit-remaining") == "599"
    assert header(answer, "ratelimit-reset") == "1"
    assert header(answer, "Preference-Applied") is None
    assert answer.body.endswith(b"}\n")
    prediction = answer.json
    assert list(prediction) == [
        "id",
        "model",
        "version",
        "input",
        "logs",
        "output",
        "data_removed",
        "error",
        "status",
        "created_at",
        "urls",
    ]
    assert re.fullmatch("[0-9a-hjkmnp-tv-z]{26}", prediction["id"])
    assert prediction["status"] == "starting"
    assert (prediction["output"], prediction["error"], prediction["logs"]) == (None, None, "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", prediction["created_at"])
    assert prediction["urls"] == {
        "cancel": f"{wire.server.url}/predictions/{prediction['id']}/cancel",
        "get": f"{wire.server.url}/predictions/{prediction['id']}",
        "web": f"https://replicate.com/p/{prediction['id']}",
    }
    gate.open.set()


async def test_a_prediction_runs_to_its_end(wire: Wire) -> None:
    prediction = await wire.finish("acme/echo", {"times": 2, "text": "ab"})

    assert prediction["status"] == "succeeded"
    assert prediction["output"] == "abab"
    assert prediction["logs"] == "saying ab\n"
    assert list(prediction["input"]) == ["text", "times"]
    assert prediction["source"] == "api"
    assert prediction["created_at"] <= prediction["started_at"] <= prediction["completed_at"]
    assert set(prediction["metrics"]) == {"predict_time", "total_time"}
    assert (await wire.get("/models/acme/echo"))["run_count"] == 1


async def test_a_polled_prediction_counts_against_a_bucket_of_its_own(wire: Wire) -> None:
    prediction = await wire.run("acme/echo", {"text": "a"})

    answer = await wire.ask("GET", f"/predictions/{prediction['id']}")

    assert header(answer, "ratelimit-remaining") == "59999"


async def test_a_failing_model_fails_its_prediction(wire: Wire) -> None:
    prediction = await wire.finish("acme/broken", {})

    assert prediction["status"] == "failed"
    assert prediction["error"] == "no luck (E1001)"
    assert "RuntimeError" in prediction["logs"]
    assert prediction["output"] is None


async def test_cancelling_stops_the_model_and_answers_as_django_does(
    wire: Wire, gate: Gate
) -> None:
    prediction = await wire.run("acme/gated", {"text": "a"})
    await gate.entered.wait()

    answer = await wire.ask("POST", f"/predictions/{prediction['id']}/cancel")

    await gate.cancelled.wait()
    assert answer.status == 200
    assert header(answer, "Allow") == "POST, OPTIONS"
    assert header(answer, "ratelimit-remaining") is not None
    canceled = answer.json
    assert canceled["status"] == "canceled"
    assert (canceled["output"], canceled["logs"], canceled["error"]) == (None, None, None)
    assert canceled["completed_at"].endswith("Z")
    assert set(canceled["metrics"]) == {"predict_time", "total_time"}


async def test_cancelling_what_has_ended_changes_nothing(wire: Wire) -> None:
    prediction = await wire.finish("acme/echo", {"text": "a"})

    answer = await wire.ask("POST", f"/predictions/{prediction['id']}/cancel")

    assert answer.status == 200
    assert (answer.json["status"], answer.json["output"]) == ("succeeded", "a")


@pytest.mark.parametrize("version", ["0" * 64, "nope", "acme/nope", "acme/echo", "acme/echo:0", ""])
async def test_versions_that_are_not_there_are_refused(wire: Wire, version: str) -> None:
    answer = await wire.ask("POST", "/predictions", json={"version": version, "input": {}})

    assert answer.status == 422
    assert header(answer, "Content-Type") == "application/problem+json"
    assert answer.json == VERSION_REFUSED


async def test_a_version_can_be_named_with_its_model(wire: Wire) -> None:
    version = (await wire.get("/models/acme/echo"))["latest_version"]["id"]
    body = {"version": f"acme/echo:{version}", "input": {"text": "a"}}

    assert (await wire.ask("POST", "/predictions", json=body)).status == 201


async def test_official_models_need_no_version(wire: Wire) -> None:
    by_model = await wire.ask(
        "POST", "/models/acme/tokens/predictions", json={"input": {"text": "a"}}
    )
    by_name = await wire.ask(
        "POST", "/predictions", json={"version": "acme/tokens", "input": {"text": "a"}}
    )

    assert (by_model.status, by_name.status) == (201, 201)


async def test_community_models_need_their_version(wire: Wire) -> None:
    answer = await wire.ask("POST", "/models/acme/echo/predictions", json={"input": {"text": "a"}})

    assert (answer.status, answer.json) == (404, NOT_FOUND)


async def test_invalid_input_is_refused_in_the_services_words(wire: Wire) -> None:
    version = (await wire.get("/models/acme/echo"))["latest_version"]["id"]

    answer = await wire.ask(
        "POST", "/predictions", json={"version": version, "input": {"times": "two"}}
    )

    assert answer.status == 422
    assert answer.json == {
        "detail": "- input: text is required\n"
        "- input.times: Invalid type. Expected: integer, given: string\n",
        "status": 422,
        "title": "Input validation failed",
        "invalid_fields": [
            {"type": "required", "field": "input", "description": "text is required"},
            {
                "type": "invalid_type",
                "field": "input.times",
                "description": "Invalid type. Expected: integer, given: string",
            },
        ],
    }


async def test_unknown_keys_are_refused(wire: Wire) -> None:
    answer = await wire.ask("POST", "/predictions", json={"input": {}, "model": "a/b"})

    assert answer.status == 422
    assert answer.json["detail"] == (
        "- version is required\n- Additional property model is not allowed\n"
    )
    assert answer.json["invalid_fields"][1] == {
        "type": "additional_property_not_allowed",
        "field": "",
        "description": "Additional property model is not allowed",
    }


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"3", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "application/vnd.api+json", 422),
    ],
)
async def test_bad_bodies_are_refused(wire: Wire, body: bytes, kind: str, status: int) -> None:
    answer = await wire.ask("POST", "/predictions", data=body, headers={"Content-Type": kind})

    assert answer.status == status
    assert answer.json["detail"]


@pytest.mark.parametrize("webhook", ["http://example.com/x", "ftp://example.com", "x", "https://"])
async def test_webhooks_must_be_https_or_at_home(wire: Wire, webhook: str) -> None:
    version = (await wire.get("/models/acme/echo"))["latest_version"]["id"]
    body = {"version": version, "input": {"text": "a"}, "webhook": webhook}

    answer = await wire.ask("POST", "/predictions", json=body)

    assert answer.status == 422
    assert answer.json["invalid_fields"][0]["field"] == "webhook"


@pytest.mark.parametrize("path", ["/predictions/x", "/predictions/x%2Fy", "/trainings/x"])
async def test_unknown_ids_are_not_found(wire: Wire, path: str) -> None:
    answer = await wire.ask("GET", path)

    assert (answer.status, answer.json) == (404, NOT_FOUND)


async def test_predictions_belong_to_their_account(wire: Wire) -> None:
    prediction = await wire.run("acme/echo", {"text": "a"})
    stranger = wire.server.add_account("eve")

    answer = await wire.ask("GET", f"/predictions/{prediction['id']}", token=stranger)

    assert (answer.status, answer.json) == (404, NOT_FOUND)
    assert (await wire.ask("GET", "/predictions", token=stranger)).json["results"] == []


async def test_secrets_are_covered(wire: Wire) -> None:
    prediction = await wire.finish("acme/read", {"file": "data:,hello", "key": "hush"})

    assert prediction["output"] == "hello"
    assert prediction["input"] == {"file": "data:,hello", "key": "**********"}


async def test_output_files_are_delivered_without_a_token(wire: Wire) -> None:
    prediction = await wire.finish("acme/draw", {"text": "hello"})
    first, second = prediction["output"]

    whole = await wire.ask("GET", first, token=None)
    part = await wire.ask("GET", second, token=None, headers={"Range": "bytes=1-3"})
    known = await wire.ask("GET", first, headers={"If-None-Match": whole.headers["ETag"]})
    beyond = await wire.ask("GET", first, headers={"Range": "bytes=9-"})

    assert first.endswith("/out-0.txt")
    assert (whole.status, whole.body) == (200, b"hello")
    assert header(whole, "Content-Type") == "text/plain"
    assert header(whole, "X-Content-Type-Options") == "nosniff"
    assert header(whole, "Access-Control-Allow-Origin") == "*"
    assert (part.status, part.body) == (206, b"ell")
    assert header(part, "Content-Range") == "bytes 1-3/5"
    assert (known.status, known.body) == (304, b"")
    assert (beyond.status, header(beyond, "Content-Range")) == (416, "bytes */5")


async def test_an_hour_after_the_end_the_data_is_gone(wire: Wire) -> None:
    prediction = await wire.finish("acme/draw", {"text": "hello"})

    wire.server.advance(3601)

    removed = await wire.get(f"/predictions/{prediction['id']}")
    assert removed["data_removed"] is True
    assert (removed["input"], removed["output"], removed["logs"]) == ({}, None, "")
    assert removed["status"] == "succeeded"
    assert removed["metrics"] == prediction["metrics"]
    assert (await wire.ask("GET", prediction["output"][0])).status == 404


async def test_predictions_are_listed_newest_first_in_pages(wire: Wire) -> None:
    ids = [(await wire.run("acme/echo", {"text": str(n)}))["id"] for n in range(103)]

    first = await wire.get("/predictions")
    second = await wire.get(first["next"])
    back = await wire.get(second["previous"])

    shown = [item["id"] for item in first["results"] + second["results"]]
    assert shown == ids[::-1]
    assert (len(first["results"]), first["previous"], second["next"]) == (100, None, None)
    assert first["next"].startswith(f"{wire.server.url}/predictions?cursor=")
    assert [item["id"] for item in back["results"]] == ids[:2:-1]


async def test_a_cursor_does_not_shift_when_predictions_are_added(wire: Wire) -> None:
    ids = [(await wire.run("acme/echo", {"text": str(n)}))["id"] for n in range(101)]
    first = await wire.get("/predictions")

    await wire.run("acme/echo", {"text": "more"})

    second = await wire.get(first["next"])
    assert [item["id"] for item in second["results"]] == ids[:1]


async def test_next_is_built_from_the_requests_own_host(wire: Wire) -> None:
    for n in range(101):
        await wire.run("acme/echo", {"text": str(n)})

    headers = {"Host": "localhost:1234", "X-Forwarded-Proto": "https"}
    page = (await wire.ask("GET", "/predictions", headers=headers)).json

    assert page["next"].startswith("https://localhost:1234/v1/predictions?cursor=")
    assert page["results"][0]["urls"]["get"].startswith("https://localhost:1234/v1/predictions/")


@pytest.mark.parametrize("cursor", ["x", "cD0y", "%00", "cD1uYW4", "="])
async def test_a_bad_cursor_is_not_found(wire: Wire, cursor: str) -> None:
    answer = await wire.ask("GET", f"/predictions?cursor={cursor}")

    assert (answer.status, answer.json) == (404, {"detail": "Invalid cursor"})


async def test_predictions_are_filtered_by_time_and_source(wire: Wire) -> None:
    ids = [(await wire.run("acme/echo", {"text": str(n)}))["id"] for n in range(3)]
    listed: list[Any] = (await wire.get("/predictions"))["results"]
    middle = listed[1]["created_at"]

    after = await wire.get(f"/predictions?created_after={middle}")
    before = await wire.get(f"/predictions?created_before={middle}")
    web = await wire.get("/predictions?source=web")
    bad = await wire.ask("GET", "/predictions?created_after=yesterday")

    assert [item["id"] for item in after["results"]] == [ids[2], ids[1]]
    assert [item["id"] for item in before["results"]] == [ids[0]]
    assert web["results"] == []
    assert bad.status == 400


class TestOlderShapes:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(empty_output="absent", timestamp_digits=9)

    async def test_what_is_empty_can_be_absent(self, wire: Wire, gate: Gate) -> None:
        prediction = await wire.run("acme/gated", {})

        assert "output" not in prediction
        assert "data_removed" not in prediction
        assert re.search(r"\.\d{9}Z$", prediction["created_at"])
        gate.open.set()


class TestFewSlots:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(concurrency=1)

    async def test_runs_queue_until_there_is_room(self, wire: Wire, gate: Gate) -> None:
        first = await wire.run("acme/gated", {})
        second = await wire.run("acme/gated", {})
        await gate.entered.wait()

        assert (await wire.get(f"/predictions/{first['id']}"))["status"] == "processing"
        assert (await wire.get(f"/predictions/{second['id']}"))["status"] == "starting"
        gate.open.set()
        assert (await wire.ended(second["id"]))["status"] == "succeeded"

    async def test_a_version_does_not_wait_for_another(self, wire: Wire, gate: Gate) -> None:
        await wire.run("acme/gated", {})
        await gate.entered.wait()

        assert (await wire.finish("acme/echo", {"text": "a"}))["output"] == "a"
        gate.open.set()


async def test_a_hidden_version_is_shown_as_hidden(server: LocalReplicate, wire: Wire) -> None:
    @server.model("acme/official", official=True, hidden=True)
    def official() -> str:
        return "x"

    answer = await wire.ask("POST", "/models/acme/official/predictions", json={"input": {}})

    assert answer.json["version"] == "hidden"
    assert (await wire.ask("GET", "/models/acme/official/versions")).status == 404


@pytest.mark.parametrize("model", ["acme/echo", "acme/tokens"])
async def test_an_expired_run_takes_less_than_260_bytes(model: str, wire: Wire) -> None:
    prediction = await wire.finish(model, {"text": "a" * 5_000})
    runs = wire.server._services.store.runs  # pyright: ignore[reportPrivateUsage] - what is kept

    wire.server.advance(3601)

    kept = runs[prediction["id"]]
    assert isinstance(kept, ExpiredRun)
    assert sum(map(sys.getsizeof, (prediction["id"], kept, kept.packed))) < 260
    shown = await wire.get(f"/predictions/{prediction['id']}")
    listed = (await wire.get("/predictions"))["results"][0]
    gone: dict[str, Any] = {"input": {}, "output": None, "logs": "", "data_removed": True}
    assert shown == prediction | gone
    assert (listed["id"], listed["urls"]) == (prediction["id"], shown["urls"])
