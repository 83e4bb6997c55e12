"""What a type checker makes of the client; never run, only checked."""

from __future__ import annotations

from typing import Any, assert_never, assert_type

from httpx_sse import ServerSentEvent

from replicate_async import (
    Account,
    Batch,
    BatchResult,
    DoneEvent,
    ErrorEvent,
    FileOutput,
    Hardware,
    LogsEvent,
    OutputEvent,
    Page,
    Paginator,
    Prediction,
    Replicate,
    Stream,
    StreamEvent,
    Training,
    UnknownEvent,
    Version,
    webhooks,
)
from replicate_async.local import LocalReplicate
from tests.typed_models import writer


async def runs(client: Replicate) -> None:
    assert_type(await client.run("owner/name", {"prompt": "Hi"}), Any)
    assert_type(await client.run("owner/name", {"prompt": "Hi"}, type=str), str)
    assert_type(await client.run("owner/name", type=list[float]), list[float])
    assert_type(await client.run("owner/name", type=dict[str, int]), dict[str, int])


async def batches(client: Replicate) -> None:
    assert_type(client.batch("owner/name", [{"prompt": "Hi"}]), Batch[Any])
    async with client.batch("owner/name", [{"prompt": "Hi"}], type=str) as batch:
        assert_type(batch, Batch[str])
        async for result in batch:
            assert_type(result, BatchResult[str])
            assert_type(result.unwrap(), str)


async def predictions(client: Replicate) -> None:
    prediction = await client.predictions.create("owner/name", {"prompt": "Hi"}, wait=10)
    assert_type(prediction, Prediction)
    assert_type(await client.predictions.wait(prediction), Prediction)
    assert_type(await client.predictions.wait(prediction.id, timeout=None), Prediction)
    assert_type(prediction.output, Any)
    assert_type(prediction.output_as(str), str)
    assert_type(prediction.done, bool)
    assert_type(client.predictions.list(), Paginator[Prediction])


async def listings(client: Replicate) -> None:
    async for prediction in client.predictions.list():
        assert_type(prediction, Prediction)
    async for page in client.trainings.list().pages():
        assert_type(page, Page[Training])
    async for version in client.models.versions.list("owner/name"):
        assert_type(version, Version)


async def others(client: Replicate) -> None:
    assert_type(await client.account.get(), Account)
    assert_type(await client.hardware.list(), list[Hardware])
    assert_type(await client.models.readme.get("owner/name"), str)
    assert_type(await client.trainings.wait("id"), Training)
    async with client as entered:
        assert_type(entered, Replicate)
    assert_type(client.with_options(timeout=5), Replicate)


def received(body: bytes, headers: dict[str, str]) -> None:
    assert_type(webhooks.unwrap(body, headers, "whsec_"), Prediction | Training)
    assert_type(webhooks.unwrap(body, headers, "whsec_", type=Prediction), Prediction)


async def streams(client: Replicate) -> None:
    async with client.stream("owner/name", {"prompt": "Hi"}) as stream:
        assert_type(stream, Stream)
        async for event in stream:
            assert_type(event, OutputEvent | LogsEvent | ErrorEvent | DoneEvent | UnknownEvent)
            assert_type(str(event), str)
        async for text in stream.text():
            assert_type(text, str)
        async for raw in stream.raw():
            assert_type(raw, ServerSentEvent)
        assert_type(await stream.final(), Prediction)


def events(event: StreamEvent) -> None:
    if event.event == "output":
        assert_type(event, OutputEvent)
        assert_type(event.data, str | FileOutput)
    elif event.event == "logs":
        assert_type(event, LogsEvent)
    elif event.event == "error":
        assert_type(event, ErrorEvent)
    elif event.event == "done":
        assert_type(event, DoneEvent)
    else:
        assert_type(event, UnknownEvent)


def matched_events(event: StreamEvent) -> None:
    match event.event:
        case "output":
            assert_type(event, OutputEvent)
        case "done":
            assert_type(event.reason, str | None)
        case _:
            assert_type(event, LogsEvent | ErrorEvent | UnknownEvent)
    match event:
        case OutputEvent(data=data):
            assert_type(data, str | FileOutput)
        case DoneEvent() | LogsEvent() | ErrorEvent() | UnknownEvent():
            pass
        case _:
            assert_never(event)


def misspelt_words(prediction: Prediction, event: StreamEvent) -> None:
    status: str = prediction.status
    assert_type(status == "failed", bool)
    # An ignore that is not needed is an error: each of these is found by both checkers.
    _ = prediction.status == "suceeded"  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison] - misspelt
    _ = event.event == "ouput"  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison] - misspelt


def caption(image: str) -> str:
    return image


async def embed(text: str, size: int = 3) -> list[float]:
    return [float(len(text))] * size


class Painter:
    def predict(self, prompt: str) -> str:
        return prompt


def servers(painters: dict[str, type[Painter]]) -> None:
    LocalReplicate(models={"acme/caption": caption, "acme/embed": embed, "acme/paint": Painter})
    LocalReplicate(models={"acme/caption": caption, writer.MODEL: embed})
    LocalReplicate(models=painters)
    LocalReplicate(models={1: caption})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType] - names are text
