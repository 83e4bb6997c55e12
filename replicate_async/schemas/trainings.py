"""Trainings, the runs that make a new version of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from replicate_async.schemas.predictions import Run
from replicate_async.schemas.values import WebhookEvent


class TrainingOutput(Struct, frozen=True, kw_only=True):
    """The result of a training."""

    version: str | None = None
    """The new version as "owner/name:id"."""
    weights: str | None = None
    """The URL of the trained weights."""


class Training(Run, frozen=True, kw_only=True, gc=False):
    """A run that makes a new version of a model, as it was when the API answered.

    Only ``id`` and ``status`` are always set; the urls may point at /predictions.
    """

    output: TrainingOutput | None = None


class CreateTraining(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The body of trainings.create."""

    destination: str
    """The model to make a version of, as "owner/name"; it must exist and be yours."""
    input: Mapping[str, Any]
    webhook: str | None = None
    """An https URL that the API calls for the events."""
    webhook_events_filter: Sequence[WebhookEvent] | None = None
    """The events; the API's default is ``output`` and ``completed``."""
