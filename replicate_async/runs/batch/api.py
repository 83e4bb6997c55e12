"""The API calls that a batch of one model makes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from replicate_async.core.api_clock import ApiClock
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.usage import Price
from replicate_async.refs import ModelRef
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import Prediction
from replicate_async.tracing import RunSpan


class ListedPage(NamedTuple):
    """A page of the list of predictions, and when the API wrote it if it says so."""

    results: Sequence[Prediction]
    written_at: float | None


@dataclass(frozen=True, slots=True)
class BatchApi:
    """The calls of one client that a batch of one model makes."""

    create: Callable[[ItemInput, str | None, RequestHooks], Awaitable[Prediction]]
    """Create a prediction of an input, with the version if one is given."""
    latest_version: Callable[[ModelRef], Awaitable[str | None]]
    """Look up the version of a model that cannot be run without one; None if it has none."""
    learn_time: Callable[[], Awaitable[object]]
    """Send any request, so that the clock is known."""
    wait: Callable[[str, Prediction | None], Awaitable[Prediction]]
    """Wait for the end of a prediction, whose state is known or not."""
    get: Callable[[str], Awaitable[Prediction]]
    cancel: Callable[[str], Awaitable[Prediction]]
    pages: Callable[[datetime, datetime], AsyncIterable[ListedPage]]
    """List the predictions created after one time and before another, newest first."""
    clock: ApiClock
    """The API's clock, as far as responses show it."""
    output: Callable[[Prediction], Any]
    """Return the output, with its files as `FileOutput`."""
    typed_output: Callable[[Prediction], Any]
    """Decode the output; raises `msgspec.ValidationError` if it is not of the *type*."""
    input_schema: Callable[[], Awaitable[Mapping[str, Any] | None]]
    """Fetch the OpenAPI document of the model, None if there is none."""
    requests: Callable[[], int]
    """How many requests the client has sent."""
    holds_token: Callable[[bytes], bool] = lambda _: False
    """Whether the API token is in some bytes, so that they must not be written to disk."""
    check: Callable[[ItemInput], None] | None = None
    """Raise `InvalidArgumentError` for an input that the model is known not to take."""
    start_span: Callable[[], RunSpan] = RunSpan
    """Begin the span of an item."""
    record_end: Callable[[Prediction], object] = lambda _: None
    """Record a prediction that has ended and that no wait sees, in the usage of the client."""
    price: Callable[[str | None], Price | None] = lambda _: None
    """Return the price of a prediction by the model that it names, None if there is none."""
    is_text: Callable[[Prediction], bool] = lambda _: False
    """Whether the model's schema is known to say that the output is one text in chunks."""
