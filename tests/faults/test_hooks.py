"""What a client tells of its requests: hooks, captures, the log, and what errors carry."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys
from time import monotonic

import pytest

from replicate_async import (
    AmbiguousCreateError,
    APIConnectionError,
    APIStatusError,
    FileOutput,
    Hooks,
    InvalidArgumentError,
    NotFoundError,
    Replicate,
    RequestEvent,
    ResponseEvent,
    Retry,
    RetryEvent,
    ServerError,
)
from replicate_async.errors import RequestDetails
from replicate_async.local import LocalReplicate
from tests.faults.calls import AT_ONCE, ONCE, client_of
from tests.support.fault_server import FaultServer, script
from tests.support.replies import account, json_answer, prediction, problem
from tests.support.sentinel import TOKEN, assert_opaque, assert_silent
from tests.support.wire import Answer, Ending

pytestmark = pytest.mark.anyio

ACCOUNT = json_answer(
    account(), 200, X_Request_Id="req-1", ratelimit_remaining="7", ratelimit_reset="2"
)


class Told:
    """Keeps the events that its hooks are called with."""

    def __init__(self) -> None:
        self.events: list[RequestEvent] = []
        self.hooks = Hooks(
            on_request=self.events.append,
            on_response=self.events.append,
            on_retry=self.events.append,
        )

    @property
    def responses(self) -> list[ResponseEvent]:
        return [event for event in self.events if isinstance(event, ResponseEvent)]


async def test_hooks_are_told_of_each_attempt() -> None:
    told = Told()
    async with (
        FaultServer(script(problem(503, X_Request_Id="req-0"), ACCOUNT)) as server,
        Replicate(TOKEN, base_url=server.url, retry=AT_ONCE, hooks=told.hooks) as client,
    ):
        await client.account.get()

    asked, failed, retried, again, answered = told.events
    assert (asked.operation, asked.attempt, again.attempt) == ("GET /account", 1, 2)
    assert isinstance(failed, ResponseEvent)
    assert (failed.status, failed.error, failed.request_id) == (503, "ServerError", "req-0")
    assert isinstance(retried, RetryEvent)
    assert (retried.attempt, type(retried.error)) == (2, ServerError)
    assert isinstance(answered, ResponseEvent)
    assert (answered.status, answered.error, answered.request_id) == (200, None, "req-1")
    assert (answered.rate_limit_remaining, answered.rate_limit_reset) == (7, 2.0)
    assert answered.seconds > 0
    for event in told.events:
        assert_opaque(event, type(event).__name__)


async def test_a_token_that_the_server_repeats_is_hidden(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    answer = json_answer(account(), 200, X_Request_Id=f"for {TOKEN}")
    async with (
        FaultServer(script(answer)) as server,
        Replicate(TOKEN, base_url=server.url, hooks=told.hooks) as client,
    ):
        with client.capture() as calls:
            await client.account.get()

    assert calls == told.responses
    assert_silent(f"{calls} {caplog.text}", "an event or the log")
    assert calls[0].request_id == "for [hidden]"


async def test_a_number_without_end_in_an_answer_loses_no_create() -> None:
    told = Told()
    answer = json_answer(prediction("http://x/v1"), 201, Ratelimit_Remaining="9" * 5000)
    async with (
        FaultServer(script(answer)) as server,
        Replicate("r8_x", base_url=server.url, hooks=told.hooks) as client,
    ):
        created = await client.predictions.create("acme/echo", {})

    assert created.id
    assert [event.rate_limit_remaining for event in told.responses] == [None]


async def test_hooks_are_told_of_a_lost_connection() -> None:
    told = Told()
    async with (
        FaultServer(script(Answer(cut=0, ending=Ending.RESET))) as server,
        Replicate("r8_x", base_url=server.url, retry=ONCE, hooks=told.hooks) as client,
    ):
        with pytest.raises(APIConnectionError) as found:
            await client.account.get()

    assert found.value.attempts == 1
    assert [(each.status, each.error) for each in told.responses] == [(None, "APIConnectionError")]


async def test_an_async_hook_is_awaited_before_the_request_goes_on() -> None:
    steps: list[str] = []

    async def slow(event: RequestEvent) -> None:
        await asyncio.sleep(0)
        steps.append(type(event).__name__)

    hooks = Hooks(on_request=slow, on_response=slow)
    async with (
        FaultServer(script(ACCOUNT)) as server,
        Replicate("r8_x", base_url=server.url, hooks=hooks) as client,
    ):
        await client.account.get()
        steps.append("answer")

    assert steps == ["RequestEvent", "ResponseEvent", "answer"]


async def test_the_time_of_a_hook_is_not_time_held_back() -> None:
    told = Told()
    slept = 0.0

    async def slow(_: RequestEvent) -> None:
        nonlocal slept
        began = monotonic()
        await asyncio.sleep(0.2)
        slept = monotonic() - began

    hooks = Hooks(on_request=slow, on_response=told.events.append)
    async with (
        FaultServer(script(ACCOUNT)) as server,
        Replicate("r8_x", base_url=server.url, hooks=hooks) as client,
    ):
        began = monotonic()
        await client.account.get()
        whole = monotonic() - began

    (answered,) = told.responses
    assert answered.waited <= whole - slept


@pytest.mark.parametrize("name", ["on_request", "on_response"])
async def test_a_hook_that_fails_loses_no_create(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: RequestEvent) -> None:
        raise ValueError(event.operation)

    hooks = Hooks(on_request=fail) if name == "on_request" else Hooks(on_response=fail)
    async with (
        FaultServer(script(json_answer(prediction("http://x/v1"), 201))) as server,
        Replicate(TOKEN, base_url=server.url, retry=ONCE, hooks=hooks) as client,
    ):
        made = await client.predictions.create("acme/echo", {})

    assert made.id
    assert len(server.requests) == 1
    assert "A hook raised an exception" in caplog.text


async def test_a_copy_of_the_client_may_have_hooks_of_its_own() -> None:
    first, second = Told(), Told()
    async with (
        FaultServer(script(ACCOUNT)) as server,
        Replicate("r8_x", base_url=server.url, hooks=first.hooks) as client,
    ):
        await client.with_options(hooks=second.hooks).account.get()
        await client.with_options(timeout=9).account.get()

    assert (len(first.responses), len(second.responses)) == (1, 1)


def test_other_things_than_hooks_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="pass Hooks"):
        Replicate("r8_x", hooks=print)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake


class TestCapture:
    async def test_has_what_its_own_block_sends(self) -> None:
        async with FaultServer(script(ACCOUNT)) as server, client_of(server) as client:
            await client.account.get()
            with client.capture() as calls:
                await client.account.get()
                await asyncio.create_task(client.account.get())
            await client.account.get()

        assert [(call.operation, call.request_id) for call in calls] == [
            ("GET /account", "req-1")
        ] * 2

    async def test_of_two_tasks_do_not_mix(self) -> None:
        both = asyncio.Barrier(2)

        async def capture(client: Replicate, number: int) -> int:
            with client.capture() as calls:
                await both.wait()
                for _ in range(number):
                    await client.account.get()
                await both.wait()
            return len(calls)

        async with FaultServer(script(ACCOUNT)) as server, client_of(server) as client:
            counts = await asyncio.gather(capture(client, 1), capture(client, 3))

        assert list(counts) == [1, 3]

    async def test_has_nothing_of_another_client(self) -> None:
        async with (
            FaultServer(script(ACCOUNT)) as server,
            client_of(server) as client,
            client_of(server) as other,
        ):
            with client.capture() as calls, other.capture() as others:
                await other.account.get()

        assert (len(calls), len(others)) == (0, 1)

    async def test_has_streams_and_files(self) -> None:
        async with (
            LocalReplicate() as server,
            Replicate(server.api_token, base_url=server.url) as client,
        ):
            with client.capture() as calls:
                async with client.stream("local/storyteller", {"prompt": "A fox"}) as stream:
                    async for _ in stream:
                        pass
                image = await client.run("local/mandelbrot", {"width": 64}, type=FileOutput)
                await image.read()

        names = [call.operation for call in calls]
        assert {"GET stream", "GET file"} <= set(names)
        assert all(call.status in {200, 201} for call in calls)

    async def test_costs_nothing_when_it_is_over(self) -> None:
        client = Replicate("r8_x")
        with client.capture():
            pass
        await client.aclose()
        log = logging.getLogger("replicate_async")
        log.setLevel(logging.WARNING)
        try:
            from replicate_async.transport.observation import is_observed

            assert not is_observed(None)
        finally:
            log.setLevel(logging.NOTSET)


class TestErrors:
    async def test_say_how_often_they_were_sent_and_what_the_answer_said(self) -> None:
        answer = problem(
            503, f"echo {TOKEN}", X_Request_Id="req-9", X_Echo=TOKEN, Set_Cookie="id=secret"
        )
        retry = Retry(attempts=3, base=0.0)
        async with (
            FaultServer(script(answer)) as server,
            client_of(server, retry=retry) as client,
        ):
            with pytest.raises(APIStatusError) as found:
                await client.account.get()

        error = found.value
        assert (error.attempts, error.request_id) == (3, "req-9")
        assert error.headers["x-request-id"] == "req-9"
        assert "set-cookie" not in error.headers
        assert_silent(repr(dict(error.headers)), "the headers of an error")
        again = pickle.loads(pickle.dumps(error))
        assert (again.attempts, again.request_id, again.headers) == (3, "req-9", error.headers)

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(body=b"<html>", headers=(("X-Request-Id", "req-5"), ("X-Echo", TOKEN))),
            Answer(
                status=302,
                headers=(("Location", "https://a.example/"), ("X-Request-Id", "req-5")),
                acts=False,
            ),
            json_answer(
                prediction("http://x/v1", id="../..", status="starting"), 201, X_Request_Id="req-5"
            ),
        ],
        ids=["no JSON", "redirect", "unusable id"],
    )
    async def test_that_an_answer_cannot_be_used_have_its_headers(self, answer: Answer) -> None:
        async with FaultServer(script(answer)) as server, client_of(server) as client:
            with pytest.raises(AmbiguousCreateError) as found:
                await client.predictions.create("acme/echo", {})

        assert isinstance(found.value, RequestDetails)
        assert found.value.request_id == found.value.headers["x-request-id"] == "req-5"
        assert_silent(repr(dict(found.value.headers)), "the headers of an error")

    async def test_have_the_edges_id_where_the_service_gives_none(self) -> None:
        async with (
            FaultServer(script(problem(404, CF_Ray="ray-1"))) as server,
            client_of(server) as client,
        ):
            with pytest.raises(NotFoundError) as found:
                await client.account.get()

        assert found.value.request_id == "ray-1"


class TestLog:
    async def test_has_one_line_a_request(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "replicate_async")
        async with (
            FaultServer(script(problem(503, "No."), ACCOUNT)) as server,
            client_of(server) as client,
        ):
            await client.account.get()

        lines = [r.getMessage() for r in caplog.records if r.name == "replicate_async"]
        assert [line.partition(" in ")[0] for line in lines] == [
            "GET /account: 503 ServerError",
            "GET /account: 200",
        ]
        assert lines[1].endswith("attempt 2, request req-1")
        assert_silent(caplog.text, "the log")

    @pytest.mark.parametrize(
        ("level", "lines"), [("info", 1), ("DEBUG", 1), ("", 0)], ids=["info", "debug", "off"]
    )
    async def test_goes_to_stderr_when_the_environment_says_so(
        self, level: str, lines: int
    ) -> None:
        code = (
            "import asyncio, sys\n"
            "from replicate_async import Replicate\n"
            "async def main():\n"
            "    async with Replicate('r8_x', base_url=sys.argv[1]) as client:\n"
            "        await client.account.get()\n"
            "asyncio.run(main())\n"
        )
        async with FaultServer(script(ACCOUNT)) as server:
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code, server.url),
                env={"REPLICATE_LOG": level},
                stderr=subprocess.PIPE,
            )
            _, written = await program.communicate()

        assert program.returncode == 0
        assert written.decode().count("INFO GET /account: 200 in ") == lines

    def test_at_an_unknown_level_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REPLICATE_LOG", "loud")
        with pytest.raises(InvalidArgumentError, match='neither "info" nor "debug"'):
            Replicate("r8_x")
