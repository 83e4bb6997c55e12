"""Results as rows of a table, and values as the text of one cell."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from replicate_async.runs.batch.results import BatchResult

__all__ = ["COLUMNS", "as_text", "row_of"]

COLUMNS: Final = (
    "key", "index", "status", "output", "error", "prediction_id", "files", "attempts",
    "predict_seconds", "input",
)  # fmt: skip


def row_of(result: BatchResult[Any]) -> dict[str, Any]:
    """Return *result* as a row, by column."""
    prediction = result.prediction
    return {
        "key": result.key,
        "index": result.index,
        "status": "uncreated" if prediction is None else prediction.status,
        "output": result.output,
        "error": None if result.error is None else str(result.error),
        "prediction_id": None if prediction is None else prediction.id,
        "files": [str(path) for path in result.files],
        "attempts": result.attempts,
        "predict_seconds": result.predict_seconds,
        "input": result.input,
    }


def as_text(value: object, *, joined: bool = False) -> str | None:
    """Return an output as the text of one cell; None stays None.

    A value that is no text is JSON, and one that JSON has as a string, such as a file, is that
    string. With *joined*, a list of strings is one text.
    """
    if value is None or isinstance(value, str):
        return value
    if joined and (texts := _texts(value)) is not None:
        return "".join(texts)
    try:
        encoded = msgspec.json.encode(value, enc_hook=str)
    except (TypeError, ValueError):
        return str(value)
    return msgspec.json.decode(encoded, type=str) if encoded[:1] == b'"' else encoded.decode()


def _texts(value: object) -> list[str] | None:
    """Return a list of strings; None for another value."""
    parts = cast("list[object]", value) if isinstance(value, list) else [None]
    texts = [part for part in parts if isinstance(part, str)]
    return texts if len(texts) == len(parts) else None
