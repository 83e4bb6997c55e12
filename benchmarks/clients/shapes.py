"""What the bare clients send and decode, by msgspec."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

BODY: Final = {
    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "input": {"text": "Alice"},
}


class URLs(msgspec.Struct, frozen=True, kw_only=True):
    """The URLs of a prediction."""

    get: str
    cancel: str
    web: str
    stream: str | None = None


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction."""

    id: str
    status: str
    urls: URLs
    model: str | None = None
    version: str | None = None
    input: Any = None
    output: Any = None
    logs: str | None = None
    error: str | None = None
    source: str | None = None
    data_removed: bool | None = None
    metrics: dict[str, Any] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of predictions."""

    results: list[Prediction]
    next: str | None = None


ONE: Final[msgspec.json.Decoder[Prediction]] = msgspec.json.Decoder(Prediction)
MANY: Final[msgspec.json.Decoder[Page]] = msgspec.json.Decoder(Page)
