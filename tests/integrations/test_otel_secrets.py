"""Tokens, headers, prompts and outputs, which no span, metric, event, capture or log shows."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from replicate_async import (
    FileOutput,
    Hooks,
    Limits,
    Replicate,
    ReplicateError,
    RequestEvent,
    WebhookVerificationError,
)
from replicate_async.local import AsyncConcatenateIterator, LocalReplicate
from replicate_async.runs.batch.options import BatchTimeouts
from tests.faults.calls import ALL, AT_ONCE, ONCE
from tests.support.fault_server import FaultServer, script
from tests.support.replies import (
    VERSION_ID,
    events,
    json_answer,
    prediction,
    problem,
    service,
    stream_answer,
)
from tests.support.sentinel import TOKEN, assert_silent
from tests.support.wire import Answer, Ending, Request

pytest.importorskip("opentelemetry.sdk", reason="the integrations session installs it")

from tests.integrations.telemetry import Telemetry

pytestmark = pytest.mark.anyio

HEADER: Final = "sentinel-of-a-header-that-must-not-be-shown"
PROMPT: Final = "SENTINELofAPromptThatMustNotBeShown"
OUTPUT: Final = "SENTINELofAnOutputThatMustNotBeShown"

Use = Callable[[Replicate, Path], Awaitable[object]]


class Watch:
    """Collects all that a client tells of its requests, by every way at once."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.events: list[RequestEvent] = []
        self.hooks = Hooks(
            on_request=self.events.append,
            on_response=self.events.append,
            on_retry=self.events.append,
            tracing=self.telemetry.tracing,
        )

    async def use(self, use: Use, client: Replicate, folder: Path) -> None:
        with client.capture() as calls, contextlib.suppress(ReplicateError):
            await use(client, folder)
        self.events += calls

    def assert_silent(self, log: str, *secrets: str) -> None:
        assert self.telemetry.spans
        shown = f"{self.telemetry.everything()}\n{self.events}\n{log}"
        assert_silent(shown, "telemetry")
        for secret in (HEADER, *secrets):
            assert secret not in shown


async def run(client: Replicate, _folder: Path) -> None:
    await client.run("acme/greet", {"prompt": PROMPT})


async def fail(client: Replicate, _folder: Path) -> None:
    await client.run("acme/broken", {"prompt": PROMPT})


async def stream(client: Replicate, _folder: Path) -> None:
    async with client.stream("acme/greet", {"prompt": PROMPT}) as stream:
        assert OUTPUT in "".join([text async for text in stream.text()])
        await stream.final()


async def failing_stream(client: Replicate, _folder: Path) -> None:
    async with client.stream("acme/broken", {"prompt": PROMPT}) as stream:
        _ = [text async for text in stream.text()]


async def left_stream(client: Replicate, _folder: Path) -> None:
    async with client.stream("acme/greet", {"prompt": PROMPT}) as stream:
        async for text in stream.text():
            raise ReplicateError(text)


async def batch(client: Replicate, folder: Path) -> None:
    inputs = [{"prompt": f"{PROMPT} {number}"} for number in range(6)]
    quick = BatchTimeouts(settle=0.05, margin=0.05, outage=5.0, retry=0.01)
    for model in ("acme/greet", "acme/broken"):
        journal = folder / f"{model[5:]}.db"
        async with client.batch(model, inputs, journal=journal, batch_timeouts=quick) as running:
            assert len([result async for result in running]) == len(inputs)


async def files(client: Replicate, folder: Path) -> None:
    picture = folder / f"{PROMPT}.txt"
    picture.write_text(PROMPT)
    made = await client.files.create(picture)
    await client.files.get(made.id)
    file = await client.run("local/mandelbrot", {"width": 64}, type=FileOutput)
    await file.save(folder / "out.png")
    await client.run("acme/greet", {"prompt": picture}, file_encoding="upload")


async def webhook(client: Replicate, _folder: Path) -> None:
    headers = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": f"v1,{HEADER}"}
    with pytest.raises(WebhookVerificationError):
        await client.predictions.handle_webhook(PROMPT.encode(), headers)


async def queries(client: Replicate, _folder: Path) -> None:
    await client.search(PROMPT)
    _ = [found async for found in client.models.search(PROMPT)]
    with contextlib.suppress(ReplicateError):
        await client.predictions.get(TOKEN)
    await client.run(f"acme/greet:{HEADER}", {"prompt": PROMPT})


USES: Final[Mapping[str, Use]] = {
    use.__name__: use
    for use in (run, fail, stream, failing_stream, left_stream, batch, files, webhook, queries)
}


@pytest.mark.parametrize("faults", [False, True], ids=["well", "with faults"])
@pytest.mark.parametrize("name", USES)
async def test_every_use_of_a_client_is_silent(
    name: str,
    faults: bool,
    server: LocalReplicate,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @server.model("acme/greet", official=True)
    async def greet(prompt: str) -> AsyncConcatenateIterator[str]:
        yield f"{OUTPUT}, "
        yield prompt

    @server.model("acme/broken", official=True)
    async def broken(prompt: str) -> str:
        raise RuntimeError(f"{OUTPUT}: {prompt}")

    if faults:
        echo = f'{{"detail": "{TOKEN} {HEADER}"}}'
        server.faults.add("predictions.create", status=429, retry_after=0, body=echo)
        server.faults.add("models.predictions.create", reset=True)
        server.faults.add("models.predictions.create", status=503, body=echo)
        server.faults.add("streams", cut_after_events=1)
        server.faults.add("predictions.get", status=500, body=echo)
        server.faults.add("files.create", status=500, body=echo)
        server.faults.add("delivery", cut_after=500)
    watch = Watch()
    async with Replicate(
        TOKEN,
        base_url=server.url,
        headers={"cf-aig-authorization": f"Bearer {HEADER}"},
        retry=AT_ONCE,
        hooks=watch.hooks,
    ) as client:
        await watch.use(USES[name], client, tmp_path)

    watch.assert_silent(caplog.text, OUTPUT, PROMPT)


def echoing(request: Request) -> Answer:
    """Answer with a run whose every text is the token or a header."""
    both = f"{TOKEN}{HEADER}"
    if request.path.startswith("/v1/s/"):
        return stream_answer(events(("output", both), ("error", both), done='{"reason": "error"}'))
    url = f"http://{request.header('Host')}/v1"
    stream = f"{url}/s/{both}?key={both}"
    if request.path == "/v1/predictions/odd":
        quiet = prediction(url, id=TOKEN, stream=stream)
        return json_answer(quiet | {"model": both})
    if request.path == "/v1/predictions":
        made = prediction(url, id=TOKEN, status="failed", stream=stream)
    elif request.path.endswith("/predictions"):
        made = prediction(url, id="abc", status="processing", stream=stream)
    else:
        made = prediction(url, id="abc", status="failed", stream=stream)
    echoes = {"model": both, "version": both, "error": f"{both} (E1001)", "logs": both}
    metrics = {"predict_time": both, "input_token_count": both, both: 1}
    status = 201 if request.method == "POST" else 200
    return json_answer(made | echoes | {"metrics": metrics}, status, X_Request_Id=both)


REFUSALS: Final[Mapping[str, Callable[[Request], Answer]]] = {
    "401": script(problem(401, f"{TOKEN} {HEADER}", X_Request_Id=TOKEN)),
    "500": script(problem(500, f"{TOKEN} {HEADER}", X_Request_Id=HEADER)),
    "no JSON": script(Answer(body=f"{{{TOKEN} {HEADER}".encode())),
    "reset": script(Answer(cut=0, ending=Ending.RESET)),
    "redirect": script(
        Answer(status=302, headers=(("Location", f"https://{HEADER}.example/{TOKEN}"),))
    ),
    "echo": echoing,
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_server_that_repeats_secrets_is_not_repeated(
    name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def use(client: Replicate, _folder: Path) -> None:
        for model in (VERSION_ID, "acme/greet"):
            with contextlib.suppress(ReplicateError):
                await client.run(model, {"prompt": PROMPT})
            with contextlib.suppress(ReplicateError):
                async with client.stream(model, {"prompt": PROMPT}) as stream:
                    _ = [text async for text in stream.text()]
            with contextlib.suppress(ReplicateError):
                async with client.batch(model, [{"prompt": PROMPT}]) as batch:
                    _ = [result async for result in batch]
        with contextlib.suppress(ReplicateError):
            async with client.predictions.stream("odd") as stream:
                await stream.final()
        for operation in ALL.values():
            with contextlib.suppress(ReplicateError):
                await operation(client)

    watch = Watch()
    async with (
        FaultServer(REFUSALS[name]) as server,
        Replicate(
            auth="headers",
            headers={"Authorization": f"Bearer {TOKEN}", "X-Key": HEADER},
            base_url=server.url,
            retry=ONCE,
            limits=Limits(enabled=False),
            hooks=watch.hooks,
        ) as client,
    ):
        await watch.use(use, client, tmp_path)

    watch.assert_silent(caplog.text, PROMPT)


async def test_every_operation_is_silent(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    async def use(client: Replicate, _folder: Path) -> None:
        for operation in ALL.values():
            await operation(client)

    watch = Watch()
    async with FaultServer(lambda request: service(server.url, request)) as server:
        headers = {"X-Key": HEADER}
        limits = Limits(enabled=False)
        async with Replicate(
            TOKEN, headers=headers, base_url=server.url, limits=limits, hooks=watch.hooks
        ) as client:
            await watch.use(use, client, tmp_path)

    assert len(watch.telemetry.spans) >= len(ALL)
    watch.assert_silent(caplog.text)
