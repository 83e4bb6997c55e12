"""What of a run's output was handed on, and what of it is left."""

from __future__ import annotations

from typing import cast

import msgspec

from replicate_async.core.sse import Event
from replicate_async.errors import StreamIncomplete, StreamRestarted
from replicate_async.schemas import Prediction


class Delivered:
    """The output that a stream's reader has had, so that the rest can be told from it."""

    __slots__ = ("_parts", "files", "logged", "unknown", "unmarked")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.files = False
        """Whether the parts are files; their URLs may change, their number does not."""
        self.logged = 0
        """Characters of the logs that were handed on."""
        self.unknown = False
        """Whether the reader had output before this stream, which nobody here has seen."""
        self.unmarked = False
        """Whether a part came without an id, so that a server cannot resume after it."""

    def add(self, part: str, *, marked: bool) -> None:
        """Note a *part* that is handed on; *marked* if it had an id."""
        self._parts.append(part)
        if not marked:
            self.unmarked = True

    @property
    def text(self) -> str:
        """All parts as one text."""
        return "" if self.files else "".join(self._parts)

    def rest_of(self, prediction: Prediction) -> list[Event]:
        """Return what *prediction* has beyond what was handed on, and its end if it has ended.

        Raises `StreamRestarted` when its output is not a continuation of that, and
        `StreamIncomplete` when the output is gone.
        """
        events: list[Event] = []
        logs = prediction.logs or ""
        if len(logs) > self.logged:
            events.append(Event(event="logs", data=logs[self.logged :]))
        events += (Event(event="output", data=part) for part in self._left(prediction))
        if not prediction.done:
            return events
        if prediction.status == "succeeded":
            return [*events, Event(event="done", data="{}")]
        if prediction.status in {"canceled", "aborted"}:
            return [*events, Event(event="done", data='{"reason": "canceled"}')]
        detail = msgspec.json.encode({"detail": prediction.error or "the run failed"}).decode()
        return [
            *events,
            Event(event="error", data=detail),
            Event(event="done", data='{"reason": "error"}'),
        ]

    def _left(self, prediction: Prediction) -> list[str]:
        if prediction.output is None:
            if prediction.data_removed and prediction.status == "succeeded":
                raise StreamIncomplete(
                    f"The stream of {prediction.id} broke off, and its output has been removed "
                    "since; run the model again.",
                    text=self.text,
                )
            return []
        if self.unknown:
            raise StreamIncomplete(
                f"The stream of {prediction.id} was resumed and broke off; read the whole output "
                "with predictions.get.",
                text=self.text,
            )
        parts = _parts(prediction.output)
        had = len(self._parts)
        if self.files or parts[:had] == self._parts:
            return parts[had:]
        whole, text = _as_streamed("".join(parts)), self.text
        if not whole.startswith(text):
            raise StreamRestarted(
                f"The output of {prediction.id} is not a continuation of what was streamed; read "
                "it whole with predictions.get.",
                text=text,
            )
        return [whole[len(text) :]] if len(whole) > len(text) else []


def _parts(output: object) -> list[str]:
    if isinstance(output, list):
        return [_part(item) for item in cast("list[object]", output)]
    return [_part(output)]


def _part(item: object) -> str:
    return item if isinstance(item, str) else msgspec.json.encode(item).decode()


def _as_streamed(text: str) -> str:
    # Within a server-sent event every line end is a LF.
    return text.replace("\r\n", "\n").replace("\r", "\n")
