"""Removes the API token from the texts of a run that error messages repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from msgspec.structs import replace

from replicate_async.schemas.files import File
from replicate_async.schemas.predictions import Run

RunT = TypeVar("RunT", bound=Run)
T = TypeVar("T")

QUIET_STATUSES: Final = frozenset({"starting", "processing", "succeeded"})
"""Statuses of a run whose other texts no error message repeats, unless it has an error."""


def redact_run(run: RunT, redact: Callable[[str], str]) -> RunT:
    """Return *run* with its error, status and model redacted by *redact*.

    Input, output and logs stay as the API gave them.
    """
    if not run.error and run.status in QUIET_STATUSES:
        return run
    texts = run.error or "", run.status, run.model or ""
    error, status, model = map(redact, texts)
    if (error, status, model) == texts:
        return run
    return replace(run, error=error or run.error, status=status, model=model or run.model)


def redact_id(made: T, redact: Callable[[str], str]) -> T:
    """Return *made*, which was just created, with its id redacted by *redact*."""
    return replace(made, id=redact(made.id)) if isinstance(made, Run | File) else made
