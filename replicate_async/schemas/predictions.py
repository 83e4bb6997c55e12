"""Predictions, the runs of a model, as the API answers with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct, structs

from replicate_async.core.endpoint import shorten
from replicate_async.core.poll import is_terminal
from replicate_async.schemas.output import Progress, decode_output, error_code
from replicate_async.schemas.values import URL, Source, Status, Timestamp, WebhookEvent

T = TypeVar("T")

# gc=False: the garbage collector skips runs, so reading 30,000 of them is a third faster. Only a
# run that a program puts into its own input would leak.


class PredictionURLs(Struct, frozen=True, kw_only=True, gc=False):
    """The addresses of a prediction or training."""

    get: URL | None = None
    cancel: URL | None = None
    stream: URL | None = None
    """The server-sent events of the output, for versions that can stream."""
    web: URL | None = None


class Run(Struct, frozen=True, kw_only=True, gc=False):
    """The fields that predictions and trainings share."""

    id: str
    model: str | None = None
    """The model as "owner/name"; may be an alias of the requested model."""
    version: str | None = None
    """A version id, or ``hidden`` for an official model."""
    input: dict[str, Any] | None = None
    """The input as it was given; removed an hour after the end."""
    error: str | None = None
    """Why the run failed; may be an empty string for a run that did not fail."""
    logs: str | None = None
    """All logs so far, lines ending in ``\\n``."""
    status: Status
    """One of "starting", "processing", "succeeded", "failed", "canceled" and "aborted", or a word
    that the API has added since; `done` says whether the run has ended."""
    source: Source | None = None
    """Where it was created: "web" or "api"."""
    created_at: Timestamp | None = None
    started_at: Timestamp | None = None
    """When the model began, after the queue and its boot."""
    completed_at: Timestamp | None = None
    """When it ended, in success or not."""
    metrics: dict[str, Any] | None = None
    """Measures such as ``predict_time`` and ``total_time``, in seconds."""
    webhook: str | None = None
    webhook_events_filter: list[str] | None = None
    urls: PredictionURLs = PredictionURLs()

    @property
    def done(self) -> bool:
        """Whether the run has ended, successfully or not."""
        if self.status == "processing":  # the status of nearly every poll
            return False
        return is_terminal(self.status, self.completed_at is not None)

    @property
    def progress(self) -> Progress | None:
        """The last progress bar in the logs, or None without one."""
        return Progress.parse(self.logs)

    def __repr__(self) -> str:
        model = f" {self.model}" if self.model else ""
        error = f": {shorten(self.error)}" if self.error else ""
        return f"<{type(self).__name__} {self.id}{model} {self.status}{error}>"

    def _repr_html_(self) -> str:
        from replicate_async.schemas.notebook import run_table  # noqa: PLC0415 - in notebooks only

        return run_table(structs.asdict(self))

    @property
    def error_code(self) -> str | None:
        """The code in the error, such as ``E1001`` (out of memory), or None."""
        return error_code(self.error)


class Prediction(Run, frozen=True, kw_only=True, gc=False):
    """A run of a model, as it was when the API answered.

    Only ``id`` and ``status`` are always set.
    """

    output: Any = None
    """The output so far; the version's ``openapi_schema`` describes it."""
    data_removed: bool | None = None
    """Whether input, output and logs are removed, which happens an hour after the end."""
    deadline: Timestamp | None = None
    """When the API cancels the run, if ``Cancel-After`` was sent."""
    deployment: str | None = None
    """The deployment that the prediction runs on."""

    def output_as(self, type: type[T]) -> T:
        """Return the output as a *type*, which is any type that msgspec decodes.

        ``str`` joins a list of strings without a URL: a prediction does not know the schema of its
        model, which ``client.run`` uses.

        Args:
            type: The type, such as ``str`` or ``list[str]``.

        Raises:
            msgspec.ValidationError: The output is not a *type*, or there is none.
        """
        return decode_output(self.output, type)


class CreatePrediction(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of models.predictions.create and deployments.predictions.create."""

    input: Mapping[str, Any]
    webhook: str | None = None
    """An https URL that the API calls for the events."""
    webhook_events_filter: Sequence[WebhookEvent] | None = None
    """The events; the API's default is ``output`` and ``completed``."""
    stream: bool = False
    """Deprecated: the API ignores it."""


class CreateVersionPrediction(
    CreatePrediction, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of predictions.create."""

    version: str
    """A version id, "owner/name:id", or "owner/name" of an official model."""


class CreatePredictionHeaders(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename={"prefer": "Prefer", "cancel_after": "Cancel-After"},
):
    """The headers of the three operations that create a prediction."""

    # Documented and not enforced: a server ignores preferences that it does not know.
    prefer: (
        Annotated[str, Meta(extra_json_schema={"pattern": "^wait(=([1-9]|[1-9][0-9]|60))?$"})]
        | None
    ) = None
    """``wait`` or ``wait=n``: hold the answer for up to n (1 to 60) seconds."""
    cancel_after: str | None = None
    """Seconds, or hours, minutes and seconds as in ``1h30m45s``; 5 seconds to 24 hours."""


class ListPredictions(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The query of predictions.list."""

    created_after: Timestamp | None = None
    """Inclusive."""
    created_before: Timestamp | None = None
    """Exclusive."""
    source: Literal["web"] | None = None
    """Only those made on the website in the last 14 days."""
