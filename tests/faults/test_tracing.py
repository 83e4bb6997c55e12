"""What a tracer is told of requests and runs, and where its headers go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

import pytest

from replicate_async import (
    FileOutput,
    Hooks,
    InvalidArgumentError,
    Limits,
    Prediction,
    PredictionFailed,
    RedirectError,
    Replicate,
)
from replicate_async.local import LocalReplicate
from replicate_async.tracing import RequestSpan, RunSpan, Tracing
from tests.faults.calls import ALL, ONCE
from tests.support.fault_server import FaultServer, Stranger
from tests.support.replies import events, json_answer, prediction, service, stream_answer
from tests.support.sentinel import TOKEN, assert_silent
from tests.support.wire import Answer, Request

pytestmark = pytest.mark.anyio

TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
current: ContextVar[str] = ContextVar("current", default="")


class Recorder(Tracing):
    """Keeps what it is told, with the name of the span that was current then."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.urls: list[str] = []
        self.hooks = Hooks(tracing=self)

    def headers(self) -> Mapping[str, str]:
        return {"traceparent": TRACE, "User-Agent": "tracer"}

    def request(self, operation: str, attempt: int, url: str, *, is_poll: bool) -> RequestSpan:
        self.urls.append(url)
        recorder = self
        name = "poll" if is_poll else f"{operation} {attempt}"
        if not is_poll:
            self.note(name)

        class Span(RequestSpan):
            def end(
                self, *, status: int | None, error: str | None, seconds: float, waited: float
            ) -> None:
                assert seconds >= 0
                assert waited >= 0
                if not is_poll:
                    recorder.note(f"{status} {error}")

        return Span()

    def run(
        self, model: str | None, url: str, *, is_stream: bool, redact: Callable[[str], str]
    ) -> RunSpan:
        assert redact(TOKEN) == "[hidden]"
        assert url.endswith("/v1")
        self.note(f"{'stream' if is_stream else 'run'} {model}")
        return Recorded(self)

    def note(self, step: str) -> None:
        self.steps.append(f"{current.get()}: {step}" if current.get() else step)


class Recorded(RunSpan):
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def active(self) -> AbstractContextManager[object]:
        return self._active()

    @contextmanager
    def _active(self) -> Generator[None]:
        token = current.set("in")
        try:
            yield
        finally:
            current.reset(token)

    def seen(self, run: Prediction) -> None:
        self.recorder.note(f"seen {run.status}")

    def received(self, *, has_output: bool, is_last: bool) -> None:
        self.recorder.note(f"received {has_output} {is_last}")

    def end(self, error: BaseException | None = None) -> None:
        self.recorder.note(f"end {type(error).__name__ if error else ''}".strip())


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def client(server: LocalReplicate, recorder: Recorder) -> AsyncIterator[Replicate]:
    async with Replicate(
        server.api_token, base_url=server.url, retry=ONCE, hooks=recorder.hooks
    ) as connected:
        yield connected


def traced_client(server: FaultServer, recorder: Recorder) -> Replicate:
    limits = Limits(enabled=False)
    return Replicate(TOKEN, base_url=server.url, retry=ONCE, limits=limits, hooks=recorder.hooks)


@pytest.mark.parametrize("name", ALL)
async def test_the_headers_go_with_every_operation(name: str, recorder: Recorder) -> None:
    async with FaultServer(lambda request: service(server.url, request)) as server:
        async with traced_client(server, recorder) as client:
            await ALL[name](client)

        for request in server.requests:
            assert request.header("traceparent") == TRACE
            assert request.header("user-agent") != "tracer"
            assert request.header("authorization") == f"Bearer {TOKEN}"


async def test_the_headers_go_to_no_other_origin(recorder: Recorder) -> None:
    def handler(request: Request) -> Answer:
        if request.path.endswith("/account"):
            location = ("Location", f"{stranger.origin}/v1/account")
            return Answer(status=302, headers=(location,), acts=False)
        if request.path.endswith("/picture"):
            return Answer(status=302, headers=(("Location", f"{stranger.origin}/out.png"),))
        elsewhere = f"{stranger.origin}/stream"
        asked = prediction(server.url, status="processing", stream=elsewhere)
        return json_answer(asked, 201 if request.method == "POST" else 200)

    answer = stream_answer(events(("output", "Hi")))
    async with (
        Stranger(replace(answer, headers=(("Content-Type", "text/event-stream"),))) as stranger,
        FaultServer(handler) as server,
        traced_client(server, recorder) as client,
    ):
        with pytest.raises(RedirectError):
            await client.account.get()
        async with client.stream("acme/echo", {}, on_exit="continue") as stream:
            assert [text async for text in stream.text()] == ["Hi"]
        for url in (f"{stranger.origin}/out.png", f"{server.url}/picture"):
            await FileOutput(url).with_client(client).read()

        assert len(stranger.requests) == 3
        assert [request.header("traceparent") for request in stranger.requests] == [None] * 3
        stranger.assert_never_saw([TOKEN])


async def test_a_stream_of_the_api_gets_the_headers(recorder: Recorder) -> None:
    def handler(request: Request) -> Answer:
        if request.path == "/v1/stream":
            return stream_answer(events(("output", "Hi")))
        made = prediction(server.url, status="processing", stream=f"{server.url}/stream")
        return json_answer(made, 201)

    async with FaultServer(handler) as server, traced_client(server, recorder) as client:
        async with client.stream("acme/echo", {}, on_exit="continue") as stream:
            assert [text async for text in stream.text()] == ["Hi"]

        assert [request.header("traceparent") for request in server.requests] == [TRACE] * 2
        assert recorder.urls[1] == server.origin


async def test_a_url_shows_neither_query_nor_token(recorder: Recorder) -> None:
    async with FaultServer(lambda request: service(server.url, request)) as server:
        async with traced_client(server, recorder) as client:
            await client.search("what the user asked for")
            await client.predictions.get(TOKEN)

        assert recorder.urls == [f"{server.url}/search", f"{server.url}/predictions/[hidden]"]
        assert_silent(repr(recorder.steps), "a step")


async def test_a_run_is_told_of_around_its_requests(client: Replicate, recorder: Recorder) -> None:
    await client.run("local/echo", {"value": 1})
    with pytest.raises(PredictionFailed):
        await client.run("local/fail", {})

    create = "in: POST /models/{model_owner}/{model_name}/predictions 1"
    assert recorder.steps == [
        *("run local/echo", create, "in: 201 None", "in: seen succeeded", "end"),
        *("run local/fail", create, "in: 201 None", "end PredictionFailed"),
    ]


async def test_a_stream_is_told_of_to_its_last_event(client: Replicate, recorder: Recorder) -> None:
    async with client.stream("local/storyteller", {"prompt": "A fox"}) as stream:
        async for _ in stream:
            pass
        await stream.final()

    began, create, made, opened, answered, *received = recorder.steps
    assert began == "stream local/storyteller"
    assert create == "in: POST /models/{model_owner}/{model_name}/predictions 1"
    assert (made, opened, answered) == ("in: 201 None", "in: GET stream 1", "in: 200 None")
    assert received[0] == "received True False"
    assert {"received True True", "received False True"} & {*received}
    assert received[-2:] == ["seen succeeded", "end"]


async def test_a_stream_that_is_left_ends_after_its_cancel(
    client: Replicate, recorder: Recorder
) -> None:
    async def leave() -> None:
        async with client.stream("local/storyteller", {"prompt": "A fox"}) as stream:
            async for _ in stream.text():
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()

    cancel = "in: POST /predictions/{prediction_id}/cancel 1"
    assert recorder.steps[-4:-2] == [cancel, "in: 200 None"]
    assert recorder.steps[-1] == "end ZeroDivisionError"


async def test_a_stream_that_does_not_begin_ends_with_its_error(
    client: Replicate, recorder: Recorder
) -> None:
    with pytest.raises(Exception, match="acme/nothing"):
        async with client.stream("acme/nothing", {}):
            pass

    assert recorder.steps[0] == "stream acme/nothing"
    assert recorder.steps[-1] == "end NotFoundError"


async def test_each_item_of_a_batch_is_told_of(client: Replicate, recorder: Recorder) -> None:
    async with client.batch("local/echo", [{"value": 1}], concurrency=1) as batch:
        assert [result.ok async for result in batch] == [True]
    async with client.batch("local/fail", [{}], concurrency=1) as batch:
        assert [result.ok async for result in batch] == [False]

    own = [step for step in recorder.steps if "POST" in step or "run" in step or step[:1] == "e"]
    create = "in: POST /models/{model_owner}/{model_name}/predictions 1"
    assert own == ["run local/echo", create, "end", "run local/fail", create, "end"]
    assert [step for step in recorder.steps if "seen" in step] == [
        "in: seen succeeded",
        "in: seen failed",
    ]


def test_other_things_than_a_tracer_are_refused() -> None:
    hooks = Hooks(tracing=Recorder)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake
    with pytest.raises(InvalidArgumentError, match="makes no spans"):
        Replicate("r8_x", hooks=hooks)
