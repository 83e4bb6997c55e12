"""Spans and metrics by OpenTelemetry, as its SDK collects them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from replicate_async import (
    APIConnectionError,
    Hooks,
    InvalidArgumentError,
    Limits,
    PredictionFailed,
    Replicate,
    RequestEvent,
    Retry,
    ServerError,
)
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate
from tests.faults.calls import AT_ONCE, ONCE
from tests.support.fault_server import FaultServer, Stranger, script
from tests.support.replies import (
    VERSION_ID,
    account,
    events,
    json_answer,
    prediction,
    problem,
    service,
    stream_answer,
)
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

pytest.importorskip("opentelemetry.sdk", reason="the integrations session installs it")

from opentelemetry import baggage, context, trace
from opentelemetry.metrics import NoOpHistogram, NoOpMeter, NoOpMeterProvider
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from replicate_async.integrations.otel import OpenTelemetry, trace_context, with_trace
from tests.integrations.telemetry import Telemetry, attributes, context_of

pytestmark = pytest.mark.anyio

CREATE: Final = "POST /models/{model_owner}/{model_name}/predictions"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def client(server: LocalReplicate, telemetry: Telemetry) -> AsyncIterator[Replicate]:
    async with Replicate(
        server.api_token, base_url=server.url, retry=ONCE, hooks=telemetry.hooks
    ) as connected:
        yield connected


def client_of(server: FaultServer, telemetry: Telemetry, retry: Retry = AT_ONCE) -> Replicate:
    limits = Limits(enabled=False)
    return Replicate(TOKEN, base_url=server.url, retry=retry, limits=limits, hooks=telemetry.hooks)


def shape(telemetry: Telemetry) -> list[str]:
    """Return the names of the spans, indented below their parents."""
    return [f"{'  ' * depth}{span.name}" for depth, span in telemetry.tree()]


class TestRequests:
    async def test_have_a_span_an_attempt(self, telemetry: Telemetry) -> None:
        answers = problem(503), json_answer(account(), 200)
        async with FaultServer(script(*answers)) as server, client_of(server, telemetry) as client:
            await client.account.get()

        failed, again = telemetry.spans
        assert (failed.name, failed.kind) == ("GET /account", SpanKind.CLIENT)
        found = dict(attributes(failed))
        found.pop("replicate.pacing.duration", None)  # of a machine that stood still
        assert found == {
            "http.request.method": "GET",
            "url.template": "/account",
            "url.full": f"{server.url}/account",
            "server.address": "127.0.0.1",
            "server.port": server.port,
            "http.response.status_code": 503,
            "error.type": "503",
        }
        assert failed.status.status_code is StatusCode.ERROR
        assert attributes(again)["http.request.resend_count"] == 1
        assert attributes(again)["http.response.status_code"] == 200
        assert again.status.status_code is StatusCode.UNSET
        assert "error.type" not in attributes(again)

    async def test_without_an_answer_name_the_error(self, telemetry: Telemetry) -> None:
        reset = Answer(cut=0, ending=Ending.RESET)
        async with (
            FaultServer(script(reset)) as server,
            client_of(server, telemetry, ONCE) as client,
        ):
            with pytest.raises(APIConnectionError):
                await client.account.get()

        (span,) = telemetry.spans
        assert attributes(span)["error.type"] == "APIConnectionError"
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert not span.events

    async def test_that_are_cancelled_end_their_span(self, telemetry: Telemetry) -> None:
        silent = Answer(cut=0, ending=Ending.HANG)
        async with FaultServer(script(silent)) as server, client_of(server, telemetry) as client:
            asking = asyncio.ensure_future(client.account.get())
            async with asyncio.timeout(HANG):
                while not server.requests:  # noqa: ASYNC110 - a server has no event of it
                    await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.wait({asking})

        assert [attributes(span)["error.type"] for span in telemetry.spans] == ["CancelledError"]

    async def test_are_measured(self, telemetry: Telemetry) -> None:
        answers = problem(503), problem(500), json_answer(account(), 200)
        async with FaultServer(script(*answers)) as server, client_of(server, telemetry) as client:
            await client.account.get()

        durations = telemetry.points("http.client.request.duration")
        statuses = [point.attributes["http.response.status_code"] for point in durations]
        assert sorted(statuses) == [200, 500, 503]
        assert all(point.attributes["url.template"] == "/account" for point in durations)
        assert not any("url.full" in point.attributes for point in durations)
        (retries,) = telemetry.points("replicate.client.request.retries")
        assert retries.value == 2

    async def test_say_how_long_they_were_held_back(self, telemetry: Telemetry) -> None:
        limits = Limits(creates=200, burst=1)
        async with (
            FaultServer(lambda request: service(server.url, request)) as server,
            Replicate("r8_x", base_url=server.url, limits=limits, hooks=telemetry.hooks) as client,
        ):
            await asyncio.gather(*(client.predictions.create(VERSION_ID, {}) for _ in range(3)))

        held_back = [attributes(s).get("replicate.pacing.duration", 0.0) for s in telemetry.spans]
        assert max(held_back) > 0.1
        (point,) = telemetry.points("replicate.client.pacing.duration")
        assert point.count == 3
        assert point.max == max(held_back)

    async def test_are_children_of_the_current_span_in_every_task(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        async def ask(name: str) -> None:
            with telemetry.tracer.start_as_current_span(name):
                await asyncio.gather(client.account.get(), client.account.get())

        await asyncio.gather(ask("one"), ask("two"))

        assert sorted(shape(telemetry)) == sorted(["one", "two", *["  GET /account"] * 4])
        for name in ("one", "two"):
            (parent,) = telemetry.named(name)
            above = [span.parent for span in telemetry.named("GET")]
            assert above.count(context_of(parent)) == 2

    async def test_are_current_in_hooks(self, server: LocalReplicate, telemetry: Telemetry) -> None:
        seen: list[int] = []

        async def keep(_: RequestEvent) -> None:
            await asyncio.sleep(0)
            seen.append(trace.get_current_span().get_span_context().span_id)

        hooks = Hooks(on_request=keep, on_response=keep, tracing=telemetry.tracing)
        async with Replicate(server.api_token, base_url=server.url, hooks=hooks) as client:
            await client.account.get()

        (span,) = telemetry.spans
        assert seen == [context_of(span).span_id] * 2
        assert trace.get_current_span() is trace.INVALID_SPAN

    async def test_of_a_copy_of_the_client_have_spans(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        await client.with_options(timeout=9).account.get()

        assert [span.name for span in telemetry.spans] == ["GET /account"]

    async def test_show_no_query(self, client: Replicate, telemetry: Telemetry) -> None:
        await client.search("what a user asked for")

        assert telemetry.spans
        assert "what" not in telemetry.everything()


class TestRuns:
    async def test_have_a_span_around_their_requests(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        await client.run("local/storyteller", {"prompt": "A fox"})

        assert shape(telemetry) == ["generate_content local/storyteller", f"  {CREATE}"]
        span = telemetry.spans[0]
        assert span.kind is SpanKind.CLIENT
        found = dict(attributes(span))
        assert found.pop("gen_ai.response.id")
        assert found.pop("gen_ai.usage.output_tokens") > 1
        assert found.pop("replicate.predict.duration") > 0
        assert found.pop("replicate.queue.duration") >= 0
        assert found.pop("server.port")
        assert found == {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "replicate",
            "gen_ai.request.model": "local/storyteller",
            "gen_ai.response.model": "local/storyteller",
            "gen_ai.usage.input_tokens": 2,
            "replicate.prediction.status": "succeeded",
            "server.address": "127.0.0.1",
        }

    async def test_that_fail_name_the_error_and_not_its_message(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        with pytest.raises(PredictionFailed, match="failed as asked") as found:
            await client.run("local/fail", {})

        span = telemetry.spans[0]
        assert attributes(span)["error.type"] == "PredictionFailed"
        assert attributes(span)["replicate.prediction.status"] == "failed"
        assert attributes(span)["gen_ai.response.id"] == found.value.prediction.id
        assert span.status.status_code is StatusCode.ERROR
        assert not span.events
        assert "failed as asked" not in telemetry.everything()

    async def test_that_are_repeated_count_each_prediction(
        self, server: LocalReplicate, client: Replicate, telemetry: Telemetry
    ) -> None:
        runs = 0

        @server.model("acme/flaky", official=True)
        async def flaky() -> str:
            nonlocal runs
            runs += 1
            if runs == 1:
                raise RuntimeError("Prediction interrupted; please retry (code: PA)")
            return "done"

        await client.run("acme/flaky", {}, retries=1)

        assert shape(telemetry) == ["generate_content acme/flaky", *[f"  {CREATE}"] * 2]
        span = telemetry.spans[0]
        assert span.status.status_code is StatusCode.UNSET
        assert attributes(span)["replicate.prediction.status"] == "succeeded"
        assert "error.type" not in attributes(span)
        (duration,) = telemetry.points("gen_ai.client.operation.duration")
        assert duration.count == 1
        assert telemetry.points("replicate.client.predict.duration")[0].count == 2

    async def test_are_measured(self, client: Replicate, telemetry: Telemetry) -> None:
        for _ in range(2):
            await client.run("local/storyteller", {"prompt": "A fox"})

        (duration,) = telemetry.points("gen_ai.client.operation.duration")
        assert duration.count == 2
        assert duration.attributes["gen_ai.request.model"] == "local/storyteller"
        tokens = {
            point.attributes["gen_ai.token.type"]: point
            for point in telemetry.points("gen_ai.client.token.usage")
        }
        assert tokens["input"].sum == 4
        assert tokens["output"].sum == client.usage.total.output_tokens
        (predicted,) = telemetry.points("replicate.client.predict.duration")
        assert predicted.sum == pytest.approx(client.usage.total.predict_seconds)
        assert telemetry.points("replicate.client.queue.duration")[0].count == 2
        assert telemetry.units() == {
            "gen_ai.client.operation.duration": "s",
            "gen_ai.client.token.usage": "{token}",
            "http.client.request.duration": "s",
            "replicate.client.pacing.duration": "s",
            "replicate.client.predict.duration": "s",
            "replicate.client.queue.duration": "s",
        }

    async def test_have_no_spans_of_polls_which_are_measured(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        await asyncio.gather(*(client.run("local/echo", {"value": at}) for at in range(3)))

        assert sorted(shape(telemetry)) == sorted(
            ["generate_content local/echo"] * 3 + [f"  {CREATE}"] * 3
        )
        polls = [
            point
            for point in telemetry.points("http.client.request.duration")
            if point.attributes["url.template"].startswith("/predictions")
        ]
        assert sum(point.count for point in polls) >= 1


class TestStreams:
    async def test_have_a_span_to_their_last_token(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        async with client.stream("local/storyteller", {"prompt": "A fox"}) as stream:
            async for _ in stream.text():
                pass
            with telemetry.tracer.start_as_current_span("after the last token"):
                pass
            await stream.final()

        assert shape(telemetry) == [
            *("generate_content local/storyteller", f"  {CREATE}", "  GET stream"),
            "after the last token",
        ]
        span, after = telemetry.spans[0], telemetry.spans[-1]
        assert (span.end_time or 0) <= (after.start_time or 0)
        found = attributes(span)
        assert found["gen_ai.request.stream"] is True
        first = found["gen_ai.response.time_to_first_chunk"]
        assert 0 < first <= ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        assert found["gen_ai.usage.input_tokens"] == 2
        (point,) = telemetry.points("gen_ai.client.operation.time_to_first_chunk")
        assert (point.count, point.sum) == (1, first)

    async def test_that_are_left_show_what_was_paid_for(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        given = {"prompt": "A fox", "max_tokens": 10_000, "delay_ms": 10}
        async with client.stream("local/storyteller", given) as stream:
            assert await anext(stream.text())

        assert stream.prediction.status == "canceled"
        found = attributes(telemetry.named("generate_content local/storyteller")[0])
        assert found["gen_ai.usage.input_tokens"] == 2
        assert found["replicate.predict.duration"] > 0
        assert found["replicate.prediction.status"] == "canceled"
        assert "error.type" not in found

    async def test_have_no_attributes_of_the_secret_address(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        async with client.stream("local/storyteller", {"prompt": "A fox"}) as stream:
            url = stream.prediction.urls.stream or ""
            async for _ in stream.text():
                pass

        (span,) = telemetry.named("GET stream")
        assert set(attributes(span)) == {
            *("http.request.method", "http.response.status_code", "server.address", "server.port")
        }
        assert url.rpartition("/")[2] not in telemetry.everything()

    async def test_that_fail_name_the_error(
        self, server: LocalReplicate, client: Replicate, telemetry: Telemetry
    ) -> None:
        @server.model("acme/broken", official=True)
        async def broken() -> AsyncConcatenateIterator[str]:
            yield "so far"
            raise RuntimeError("what the user asked")

        async def read() -> None:
            async with client.stream("acme/broken", {}) as stream:
                _ = [text async for text in stream.text()]

        with pytest.raises(PredictionFailed):
            await read()
        async with client.stream("acme/broken", {}) as stream:
            with pytest.raises(PredictionFailed):
                _ = [text async for text in stream.text()]

        for span in telemetry.named("generate_content"):
            assert attributes(span)["error.type"] == "PredictionFailed"
        assert telemetry.points("replicate.client.queue.duration")[0].count == 2
        assert "what the user" not in telemetry.everything()

    async def test_of_a_known_run_name_the_model_that_answered(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        made = await client.predictions.create("local/storyteller", {"prompt": "A fox"})
        async with client.predictions.stream(made.id) as stream:
            _ = [text async for text in stream.text()]

        (span,) = telemetry.named("generate_content")
        assert span.name == "generate_content"
        assert attributes(span)["gen_ai.response.model"] == "local/storyteller"
        assert attributes(span)["gen_ai.response.id"] == made.id


class TestBatches:
    async def test_have_a_span_an_item_below_the_span_that_they_began_in(
        self, client: Replicate, telemetry: Telemetry
    ) -> None:
        with telemetry.tracer.start_as_current_span("night"):
            async with client.batch("local/echo", [{"value": at} for at in range(3)]) as batch:
                assert [result.ok async for result in batch] == [True] * 3

        item = ["  generate_content local/echo", f"    {CREATE}"]
        assert shape(telemetry) == ["night", *item * 3]

    async def test_replay_results_without_a_span(
        self, client: Replicate, telemetry: Telemetry, tmp_path: Any
    ) -> None:
        for _ in range(2):
            journal = tmp_path / "run.db"
            async with client.batch("local/echo", [{"value": 1}], journal=journal) as batch:
                assert [result.ok async for result in batch] == [True]

        assert len(telemetry.named("generate_content")) == 1

    async def test_name_the_error_of_an_item(self, client: Replicate, telemetry: Telemetry) -> None:
        async with client.batch("local/fail", [{}]) as batch:
            assert [result.ok async for result in batch] == [False]

        span = telemetry.named("generate_content")[0]
        assert attributes(span)["error.type"] == "PredictionFailed"
        assert telemetry.points("gen_ai.client.operation.duration")[0].count == 1


class TestPropagation:
    async def test_reaches_the_api_as_the_span_of_the_request(self, telemetry: Telemetry) -> None:
        def handler(request: Request) -> Answer:
            if request.path == "/v1/stream":
                return stream_answer(events(("output", "Hi")))
            made = prediction(server.url, status="processing", stream=f"{server.url}/stream")
            return json_answer(made, 201)

        token = context.attach(baggage.set_baggage("user", "alice"))
        async with (
            FaultServer(handler) as server,
            client_of(server, telemetry) as client,
            client.stream("acme/echo", {}, on_exit="continue") as stream,
        ):
            assert [text async for text in stream.text()] == ["Hi"]
        context.detach(token)

        for span, request in zip(telemetry.spans[1:], server.requests, strict=True):
            own = context_of(span)
            sent = request.header("traceparent") or ""
            assert sent.startswith(f"00-{own.trace_id:032x}-{own.span_id:016x}-")
            assert request.header("baggage") is None

    async def test_reaches_no_other_origin(self, telemetry: Telemetry) -> None:
        def handler(_: Request) -> Answer:
            made = prediction(server.url, status="processing", stream=f"{stranger.origin}/s")
            return json_answer(made, 201)

        answer = stream_answer(events(("output", "Hi")))
        async with (
            Stranger(answer) as stranger,
            FaultServer(handler) as server,
            client_of(server, telemetry) as client,
        ):
            async with client.stream("acme/echo", {}, on_exit="continue") as stream:
                assert [text async for text in stream.text()] == ["Hi"]

            assert [request.header("traceparent") for request in stranger.requests] == [None]

    async def test_continues_at_a_webhook(self, telemetry: Telemetry) -> None:
        with telemetry.tracer.start_as_current_span("ask") as asking:
            url = with_trace("https://app.example/hook?user=1")
        with telemetry.tracer.start_as_current_span("hook", context=trace_context(url)):
            pass

        assert url.startswith("https://app.example/hook?user=1&traceparent=00-")
        asked, hooked = asking.get_span_context(), telemetry.spans[-1].parent
        assert hooked is not None
        assert (hooked.trace_id, hooked.span_id) == (asked.trace_id, asked.span_id)
        assert with_trace("https://app.example/hook") == "https://app.example/hook"

    @pytest.mark.parametrize("url", ["http://[::1/hook", "https://[evil]x/?traceparent=1"])
    async def test_is_not_in_what_is_no_url(self, url: str) -> None:
        assert not trace_context(url)
        with pytest.raises(InvalidArgumentError, match="is no URL; give that of a webhook"):
            with_trace(url)


class BrokenProcessor(SpanProcessor):
    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:  # noqa: ARG002 - as any processor has it
        raise ValueError(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError(span.name)


async def test_an_exception_of_telemetry_loses_no_answer(
    server: LocalReplicate, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BrokenProcessor())
    hooks = Hooks(tracing=OpenTelemetry(tracer_provider=provider))
    async with Replicate(server.api_token, base_url=server.url, hooks=hooks) as client:
        assert await client.run("local/echo", {"value": 1})
        async with client.stream("local/storyteller", {"prompt": "A fox"}) as stream:
            assert [text async for text in stream.text()]
        async with client.batch("local/echo", [{"value": 1}]) as batch:
            assert [result.ok async for result in batch] == [True]

    assert "OpenTelemetry raised an exception" in caplog.text


class BrokenHistogram(NoOpHistogram):
    def record(self, *_: Any, **__: Any) -> None:
        raise ValueError(self.__class__.__name__)


class BrokenMeter(NoOpMeter):
    def create_histogram(self, name: str, *_: Any, **__: Any) -> NoOpHistogram:
        return BrokenHistogram(name)


class BrokenMeters(NoOpMeterProvider):
    def get_meter(self, name: str, *_: Any, **__: Any) -> NoOpMeter:
        return BrokenMeter(name)


async def test_an_exception_of_a_meter_loses_no_span(
    server: LocalReplicate, telemetry: Telemetry
) -> None:
    provider = telemetry.tracer_provider
    tracing = OpenTelemetry(tracer_provider=provider, meter_provider=BrokenMeters())
    hooks = Hooks(tracing=tracing)
    async with Replicate(server.api_token, base_url=server.url, hooks=hooks) as client:
        assert await client.run("local/echo", {"value": 1})

    names = [span.name for span in telemetry.spans]
    assert names == ["generate_content local/echo", CREATE]


async def test_without_an_sdk_nothing_is_sent_and_nothing_breaks() -> None:
    hooks = Hooks(tracing=OpenTelemetry())
    async with (
        FaultServer(script(json_answer(account(), 200), problem(500))) as server,
        Replicate("r8_x", base_url=server.url, retry=ONCE, hooks=hooks) as client,
    ):
        await client.account.get()
        with pytest.raises(ServerError):
            await client.account.get()

        assert [request.header("traceparent") for request in server.requests] == [None] * 2


@pytest.mark.parametrize("module", ["replicate_async", "replicate_async.client"])
def test_the_client_does_not_load_opentelemetry(module: str) -> None:
    code = f"import sys, {module}; sys.exit('opentelemetry' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import replicate_async.integrations.otel\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"pip install 'replicate-async[otel]'" in result.stderr
