"""The API calls that a batch of one model makes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from replicate_async.core.api_clock import ApiClock
from replicate_async.core.hooks import RequestHooks
from replicate_async.runs.batch.key_field import KeyField
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import Prediction


class Listed(NamedTuple):
    """A prediction as the list shows it, and whether its own endpoint would show no more."""

    prediction: Prediction
    whole: bool


class ListedPage(NamedTuple):
    """A page of the list of predictions, and when the API wrote it if it says so."""

    results: Sequence[Listed]
    written_at: float | None


@dataclass(frozen=True, slots=True)
class BatchApi:
    """The operations of one client that a batch of one model is made of."""

    create: Callable[[ItemInput, str | None, RequestHooks], Awaitable[Prediction]]
    """Create a prediction of an input: of the batch's own model or version, or of the version that
    is given."""
    latest_version: Callable[[], Awaitable[str | None]]
    """The version of a model that cannot be run without one, None if it has none."""
    learn_time: Callable[[], Awaitable[object]]
    """Ask the API for anything, so that the clock is known."""
    wait: Callable[[str], Awaitable[Prediction]]
    get: Callable[[str], Awaitable[Prediction]]
    cancel: Callable[[str], Awaitable[Prediction]]
    pages: Callable[[datetime, datetime], AsyncIterable[ListedPage]]
    """The predictions that were created after one time and before another, newest first."""
    clock: ApiClock
    """What answers have told of the API's clock."""
    output: Callable[[Prediction], Any]
    """The output as it was asked for; raises `msgspec.ValidationError` when it is not that."""
    save: Callable[[Prediction, Path, str], Awaitable[Sequence[Path]]]
    """Save the output's files in a folder, under names that begin with a key."""
    input_schema: Callable[[], Awaitable[Mapping[str, Any] | None]]
    """The JSON schema of the model's input, None if it is not to be had."""
    requests: Callable[[], int]
    """How many requests the client has sent."""
    key_field: KeyField | None = None
    """What leaves the field that names an input out of it, if *key* is a field."""
    file_sha256: Callable[[str], Awaitable[str | None]] | None = None
    """The SHA-256 of an upload by its URL, None if that is not to be had."""
    is_text: Callable[[Prediction], bool] = lambda _: False
    """Whether the model's schema is known to say that the output is one text in chunks."""
