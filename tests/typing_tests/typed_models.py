"""What type checkers make of typed models; never run, only checked.

Each mistake below carries the ignores of both checkers. They report an ignore that hides no error,
so each of these lines is an error to both.
"""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

from replicate_async import (
    Batch,
    BatchResult,
    BoundModel,
    FileOutput,
    Prediction,
    Replicate,
    Stream,
    Training,
    TypedModel,
)
from tests.typed_models import painter, writer


class Report(msgspec.Struct, frozen=True):
    score: float


REPORTER = TypedModel("dev/reporter", input=writer.Input, output=Report)
PLAIN: TypedModel[writer.Input, Any] = TypedModel("dev/plain", input=writer.Input, output=Any)


async def outputs(client: Replicate, fox: painter.Input, sea: writer.Input) -> None:
    assert_type(await client.run(painter.MODEL, fox, timeout=60), list[FileOutput])
    assert_type(await client.run(writer.MODEL, sea), str)
    assert_type(await client.run(REPORTER, sea), Report)
    assert_type(await client.run(PLAIN, sea), Any)
    assert_type(client.stream(writer.MODEL, sea, on_exit="continue"), Stream)
    assert_type(await client.predictions.create(painter.MODEL, fox, wait=5), Prediction)


async def batches(client: Replicate, words: list[str]) -> None:
    batch = client.batch(painter.MODEL, (painter.Input(prompt=word) for word in words))
    assert_type(batch, Batch[list[FileOutput]])
    async for result in batch:
        assert_type(result, BatchResult[list[FileOutput]])
        assert_type(result.unwrap(), list[FileOutput])

    async def prepare(word: str) -> painter.Input:
        return painter.Input(prompt=word)

    prepared = client.batch(painter.MODEL, words, prepare=prepare, concurrency=4)
    assert_type(prepared, Batch[list[FileOutput]])


async def deployments(client: Replicate, fox: painter.Input) -> None:
    there = client.deployments
    assert_type(await there.run("a/b", fox, model=painter.MODEL), list[FileOutput])
    assert_type(await there.run("a/b", {"prompt": "A fox"}), Any)
    assert_type(await there.run("a/b", {"prompt": "A fox"}, type=str), str)
    assert_type(there.stream("a/b", fox, model=painter.MODEL), Stream)
    assert_type(there.batch("a/b", [fox], model=painter.MODEL), Batch[list[FileOutput]])
    assert_type(there.batch("a/b", [{"prompt": "A fox"}], type=str), Batch[str])
    made = await there.predictions.create("a/b", fox, model=painter.MODEL)
    assert_type(made, Prediction)


async def trainings(client: Replicate, text: writer.TrainingInput) -> None:
    made = await client.trainings.create(writer.MODEL, destination="a/b", input=text)
    assert_type(made, Training)


async def handles(client: Replicate) -> None:
    model = await client.use("owner/name")
    assert_type(model, BoundModel[Any, Any])
    assert_type(await model(prompt="Hi"), Any)
    assert_type(await model.run({"prompt": "Hi"}, timeout=60), Any)


async def mistakes(client: Replicate, fox: painter.Input, sea: writer.Input) -> None:
    painter.Input(prompt="A fox", scheduler="KEULER")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - no choice
    painter.Input(prompt="A fox", schedular="DDIM")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - no such input
    painter.Input(width=512)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - prompt is missing
    painter.Input(prompt="A fox", width="512")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - no integer
    await client.run(painter.MODEL, sea)  # type: ignore[misc] # pyright: ignore[reportCallIssue, reportArgumentType] - another model's
    text: str = await client.run(painter.MODEL, fox)  # type: ignore[arg-type] # pyright: ignore[reportAssignmentType] - no text

    await client.run(painter.MODEL)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType] - no input
    await client.run(painter.MODEL, fox, type=str)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType] - it has a type
    client.stream(painter.MODEL, sea)  # type: ignore[misc] # pyright: ignore[reportCallIssue, reportArgumentType] - another model's
    client.batch(painter.MODEL, [sea])  # type: ignore[misc] # pyright: ignore[reportCallIssue, reportArgumentType] - another model's
    await client.deployments.run("a/b", sea, model=painter.MODEL)  # type: ignore[misc] # pyright: ignore[reportCallIssue, reportArgumentType] - another model's
    del text
