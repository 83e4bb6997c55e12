"""What a wait needs of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

from replicate_async.errors import DecodeError
from replicate_async.runs.waiting.listed_run import RawPage
from replicate_async.schemas import Prediction, Training

AnyRun: TypeAlias = Prediction | Training
RunT = TypeVar("RunT", Prediction, Training)


@dataclass(frozen=True, slots=True)
class RunApi(Generic[RunT]):
    """How runs of one kind are polled: one by one, and by pages of the listing.

    *page* takes the earliest and the latest creation time, the first included and the second not. A
    listing that is not *windowed* takes neither, and shows the newest runs.
    """

    kind: Literal["prediction", "training"]
    returns: type[RunT]
    get: Callable[[str], Awaitable[RunT]]
    page: Callable[[datetime | None, datetime | None], Awaitable[RawPage]]
    redact: Callable[[str], str] = str
    """Removes the API token from a text."""
    windowed: bool = field(kw_only=True)


def check_run(answer: RunT, run_id: str) -> RunT:
    """Return *answer* if it shows the run *run_id*; raises `DecodeError`."""
    if answer.id == run_id:
        return answer
    raise DecodeError(
        f"The API was asked about {run_id} and answered about another run. Does a cache on the way "
        "to base_url mix up answers?"
    )


def differ(known: AnyRun | None, found: AnyRun) -> bool:
    """Return whether *found* differs from *known* in status, logs, output or error."""
    return known is None or _shown(known) != _shown(found)


def _shown(run: AnyRun) -> tuple[object, ...]:
    return run.status, run.logs or "", run.output, run.error or ""
