"""Trainings: a run that makes a new version of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from replicate_async.schemas.predictions import Run
from replicate_async.schemas.values import WebhookEvent


class TrainingOutput(Struct, frozen=True, kw_only=True):
    """What a training made."""

    version: str | None = None
    """The new version as "owner/name:id"."""
    weights: str | None = None
    """The URL of the trained weights."""


class Training(Run, frozen=True, kw_only=True, gc=False):
    """A run that makes a new version of a model, as it stood when the API was asked.

    Only ``id`` and ``status`` are always there; the urls may point at /predictions.
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
    """An https URL to call when something happens."""
    webhook_events_filter: Sequence[WebhookEvent] | None = None
    """What to call it for; the API's default is ``output`` and ``completed``."""
