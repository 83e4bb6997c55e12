from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from replicate_async import (
    APIConnectionError,
    DoneEvent,
    ErrorEvent,
    LogsEvent,
    OutputEvent,
)
from replicate_async.web import to_ui_message_stream
from tests.web.script import PREDICTION_ID, Script, events, pieces, prediction

pytestmark = pytest.mark.anyio


async def chunks(stream: AsyncIterator[bytes]) -> list[dict[str, object]]:
    *parts, last = events(b"".join(await pieces(stream)))
    assert last.data == "[DONE]"
    return [json.loads(part.data) for part in parts]


async def kinds(stream: AsyncIterator[bytes]) -> list[object]:
    return [chunk["type"] for chunk in await chunks(stream)]


async def test_text_is_one_part_in_deltas() -> None:
    stream = Script(OutputEvent("Hel"), OutputEvent("lo"), 0.01, OutputEvent("!"), DoneEvent())

    assert await chunks(to_ui_message_stream(stream)) == [
        {"type": "start", "messageId": PREDICTION_ID},
        {"type": "start-step"},
        {"type": "text-start", "id": "text"},
        {"type": "text-delta", "id": "text", "delta": "Hello"},
        {"type": "text-delta", "id": "text", "delta": "!"},
        {"type": "text-end", "id": "text"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
    ]


async def test_files_are_file_parts() -> None:
    of_files = prediction("http://127.0.0.1/v1/files/bcwr-x")
    stream = Script(
        OutputEvent("data:image/webp;base64,AAAA"),
        OutputEvent("https://replicate.delivery/x/out.png?a=1"),
        OutputEvent("https://replicate.delivery/x/out"),
        DoneEvent(),
        of=of_files,
    )

    files = [chunk for chunk in await chunks(to_ui_message_stream(stream)) if "url" in chunk]

    assert [file["type"] for file in files] == ["file"] * 3
    media = [file["mediaType"] for file in files]
    assert media == ["image/webp", "image/png", "application/octet-stream"]


async def test_a_failed_model_is_an_error() -> None:
    stream = Script(OutputEvent("a"), ErrorEvent("no GPU"), DoneEvent("error"))

    *_, ended, error = await chunks(to_ui_message_stream(stream))

    assert ended["type"] == "text-end"
    assert error == {"type": "error", "errorText": "no GPU"}


async def test_trouble_is_an_error_without_internals() -> None:
    stream = Script(OutputEvent("a"), APIConnectionError("10.0.0.1 refused"))

    *_, error = await chunks(to_ui_message_stream(stream))

    assert error["type"] == "error"
    assert "10.0.0.1" not in str(error)


async def test_a_canceled_run_is_aborted() -> None:
    stream = Script(OutputEvent("a"), DoneEvent("canceled"))

    assert (await kinds(to_ui_message_stream(stream)))[-2:] == ["text-end", "abort"]


async def test_logs_are_transient_and_only_sent_when_asked_for() -> None:
    steps = (LogsEvent("step 1"), DoneEvent())

    assert "data-logs" not in await kinds(to_ui_message_stream(Script(*steps)))
    logs = (await chunks(to_ui_message_stream(Script(*steps), logs=True, message_id="m1")))[2]
    assert logs == {"type": "data-logs", "data": "step 1", "transient": True}


@pytest.mark.virtual_clock
async def test_silence_is_filled_with_comments() -> None:
    body = b"".join(await pieces(to_ui_message_stream(Script(0.1, DoneEvent()), ping=0.02)))

    assert b": ping\n\n" in body
