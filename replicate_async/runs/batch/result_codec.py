"""The result of an item as JSON in the journal: a prediction, and a few fields more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from replicate_async.core.problem import Problem
from replicate_async.errors import APIStatusError, ReplicateError, prediction_error, status_error
from replicate_async.schemas import Prediction

NULL: Final = msgspec.Raw(b"null")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A create that the API refused because of its input."""

    operation: str
    problem: Problem


class _More(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parts of a result that few have."""

    files: list[str] = []
    is_text: bool = False
    refusal: Refusal | None = None


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """What tables and counts need of a stored result."""

    model: str | None = None
    version: str | None = None
    status: str | None = None
    output: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    metrics: dict[str, Any] | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    batch: _More = _More()

    @property
    def predict_seconds(self) -> float | None:
        """How long the model ran, if the metrics say so."""
        seconds = (self.metrics or {}).get("predict_time")
        return float(seconds) if isinstance(seconds, int | float) else None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The stored result of an item."""

    prediction: Prediction | None
    error: ReplicateError | None
    files: tuple[Path, ...]
    is_text: bool = False
    """Whether a list in the output is one text in chunks."""


_decode_prediction: Final = msgspec.json.Decoder(Prediction).decode
read_stored: Final = msgspec.json.Decoder(StoredResult).decode
"""Return what tables and counts need of what `store` or `store_refusal` made."""


def store(prediction: Prediction, files: Sequence[Path] = (), *, is_text: bool = False) -> bytes:
    """Return the JSON of a prediction that has ended; logs are kept when it failed.

    *is_text* is whether a list in its output is one text in chunks. The input is left out: inputs
    are given again at every resume.
    """
    logs = None if prediction.status == "succeeded" else prediction.logs
    kept = msgspec.structs.replace(
        prediction, input=None, logs=logs, webhook=None, webhook_events_filter=None
    )
    fields: dict[str, Any] = msgspec.to_builtins(kept)
    shown = {name: value for name, value in fields.items() if value is not None}
    if files or is_text:
        shown["batch"] = _More(files=[str(path) for path in files], is_text=is_text)
    return msgspec.json.encode(shown)


def store_refusal(error: APIStatusError) -> bytes:
    """Return the JSON of an item that the API did not take, as a prediction that failed."""
    refusal = Refusal(operation=error.operation, problem=error.problem)
    shown: dict[str, object] = {"id": "", "status": "failed", "error": str(error), "urls": {}}
    return msgspec.json.encode({**shown, "batch": _More(refusal=refusal)})


def replay(result: bytes) -> Replay:
    """Return what `store` or `store_refusal` made JSON of."""
    more = read_stored(result).batch
    refusal = more.refusal
    if refusal is not None:
        error = status_error(refusal.problem, operation=refusal.operation, retry_after=None)
        return Replay(prediction=None, error=error, files=())
    prediction = _decode_prediction(result)
    failed = None if prediction.status == "succeeded" else prediction_error(prediction)
    return Replay(
        prediction=prediction,
        error=failed,
        files=tuple(Path(name) for name in more.files),
        is_text=more.is_text,
    )
