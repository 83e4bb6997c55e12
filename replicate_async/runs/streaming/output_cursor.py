"""What of a run's output was handed on, and what of it is left."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar, cast

import msgspec

from replicate_async.core.sse import Event, Outputs, Received
from replicate_async.errors import StreamError, StreamIncompleteError, StreamRestartedError
from replicate_async.schemas import Prediction

_MOST_RECENT: Final = 256
_FEWEST_AT_ONCE: Final = 32
_LARGE: Final = 4096
"""Characters of an event that is not kept as it came."""
_TEXT_KEPT: Final = 256 * 1024
"""Characters at the end of the output that are kept; twice as many at times."""
_IDS_KEPT: Final = 2 * 1024 * 1024
"""Characters of ids, some 140,000 of the service's; a stream with more is finished from the run."""

StreamErrorT = TypeVar("StreamErrorT", bound=StreamError)


class OutputCursor:
    """What a stream's reader has had, so that the rest of a run can be told from it.

    *streamed* says that it comes as server-sent events, in which every line end is a LF. *files*
    says that the parts of the output are files: their URLs may change, their number does not.
    *resumed* says that the reader had output before, which nobody here has seen; *received* is how
    many characters that was, if that is known.

    However long the stream is, only the end of the output is kept. Of what came before there is the
    number of characters and a hash, which tell whether a run's output goes on from there.
    """

    __slots__ = (
        "_count",
        "_failed",
        "_files",
        "_forgotten",
        "_hash",
        "_ids",
        "_ids_kept",
        "_kept",
        "_logged",
        "_marked",
        "_pieces",
        "_received",
        "_recent",
        "_recent_ids",
        "_recent_parts",
        "_resumed",
        "_streamed",
        "_unmarked",
    )

    def __init__(
        self,
        *,
        streamed: bool = False,
        files: bool = False,
        resumed: bool = False,
        received: int | None = None,
    ) -> None:
        self._streamed = streamed
        self._files = files
        self._resumed = resumed
        self._received = received if resumed and not files else None
        # What was added last, as it came: looked through many at a time, which costs a third of
        # doing it one by one. There are events, or ids and parts of the output.
        self._recent: list[Event] = []
        self._recent_ids: list[str] = []
        self._recent_parts: list[str] = []
        # Joined, as a part of four letters takes the memory of sixty.
        self._pieces: list[str] = []
        self._kept = 0  # characters of them
        self._forgotten = 0  # characters before them, which the hash is of
        self._hash: hashlib.blake2b | None = None
        # Joined by line ends, which no id has: hashing each would take longer than reading it.
        self._ids: list[str] = []
        self._ids_kept = 0  # characters of them
        self._marked = 0
        self._count = 0
        self._logged = 0
        self._failed = False
        self._unmarked = False

    def add(self, events: Received) -> None:
        """Note *events* that are handed on."""
        if isinstance(events, Outputs):
            many = len(events.ids) >= _FEWEST_AT_ONCE
            if self._recent or many or len(self._recent_ids) >= _MOST_RECENT:
                self._sort()
            if many:
                self._join(events.ids, events.parts)
            else:
                self._recent_ids += events.ids
                self._recent_parts += events.parts
            events = events.then or []
        if events:
            if self._recent_ids:
                self._sort()
            self._recent += events
            # Of the events of one chunk, only the first can be larger than a chunk.
            large = not self._streamed or len(events[0].data) > _LARGE
            if large or len(self._recent) >= _MOST_RECENT:
                self._sort()

    @property
    def text(self) -> str:
        """The output as one text, or the end of a long one."""
        self._sort()
        return "".join(self._pieces)

    def told(self, error: StreamErrorT) -> StreamErrorT:
        """Return *error* after noting in it what was handed on."""
        error.text = self.text
        error.received = self._forgotten + self._kept
        return error

    def marks(self) -> set[int] | None:
        """Return the hashes of all ids, or None when a server cannot resume by them.

        That is when a part of the output, of the logs or an error came without one, when two
        events had the same one, and when there are too many to keep.
        """
        self._sort()
        if self._unmarked:
            return None
        marks = {hash(id_) for ids in self._ids for id_ in ids.split("\n")}
        return None if len(marks) < self._marked else marks

    def _sort(self) -> None:
        parts = self._recent_parts
        for event in self._recent:
            if event.event == "output":
                parts.append(event.data)
            elif event.event == "logs":
                self._logged += len(event.data)
            elif event.event == "error":
                self._failed = True
            elif not (event.has_id and event.id):
                continue
            if event.has_id and event.id:
                self._recent_ids.append(event.id)
            else:
                self._unmarked = True
        self._join(self._recent_ids, parts)
        self._recent.clear()
        self._recent_ids.clear()
        parts.clear()

    def _join(self, ids: Sequence[str], parts: Sequence[str]) -> None:
        self._count += len(parts)
        if not self._files and (piece := "".join(parts)):
            self._pieces.append(piece)
            self._kept += len(piece)
            if self._kept > 2 * _TEXT_KEPT:
                self._forget()
        if ids and not self._unmarked:
            joined = "\n".join(ids)
            self._ids.append(joined)
            self._ids_kept += len(joined)
            self._marked += len(ids)
            if self._ids_kept > _IDS_KEPT:
                self._unmarked = True
                self._ids.clear()

    def _forget(self) -> None:
        """Keep the end of the output, and of the rest its length and a hash."""
        text = "".join(self._pieces)
        rest = text[:-_TEXT_KEPT]
        if self._hash is None:
            self._hash = hashlib.blake2b()
        self._hash.update(_as_bytes(rest))
        self._forgotten += len(rest)
        self._pieces = [text[-_TEXT_KEPT:]]
        self._kept = _TEXT_KEPT

    def rest_of(self, prediction: Prediction) -> list[Event]:
        """Return what *prediction* has beyond what was handed on, and its end if it has ended.

        Raises `StreamRestartedError` when its output is not a continuation of that, and
        `StreamIncompleteError` when the output is gone.
        """
        self._sort()
        events = [] if self._resumed else self._logs_left(prediction)
        events += [Event(event="output", data=part) for part in self._output_left(prediction)]
        if not prediction.done:
            return events
        if prediction.status == "succeeded":
            return [*events, Event(event="done", data="{}")]
        if prediction.status in {"canceled", "aborted"}:
            return [*events, Event(event="done", data='{"reason": "canceled"}')]
        if not self._failed:
            detail = msgspec.json.encode({"detail": prediction.error or "the run failed"})
            events.append(Event(event="error", data=detail.decode()))
        return [*events, Event(event="done", data='{"reason": "error"}')]

    def _logs_left(self, prediction: Prediction) -> list[Event]:
        logs = prediction.logs or ""
        left = (_as_streamed(logs) if self._streamed else logs)[self._logged :]
        return [Event(event="logs", data=left)] if left else []

    def _output_left(self, prediction: Prediction) -> list[str]:
        output: object = prediction.output
        if output is None and not (prediction.data_removed and prediction.status == "succeeded"):
            return []
        if not prediction.done and not isinstance(output, str | list):
            return []  # an object may still change; what was handed on may not
        lost = self._resumed and self._received is None
        if lost and prediction.done and prediction.status != "succeeded":
            return []  # its error says more than that a part of the output is missing
        if lost or output is None:
            raise self._incomplete(prediction)
        parts = _parts(prediction.output)
        return parts[self._count :] if self._files else self._text_left(prediction, parts)

    def _incomplete(self, prediction: Prediction) -> StreamIncompleteError:
        if prediction.output is None:
            what = "its output has been removed since; run the model again."
        else:
            what = "it was resumed in the middle; read the whole output with predictions.get."
        message = f"The stream of {prediction.id} broke off, and {what}"
        return self.told(StreamIncompleteError(message))

    def _text_left(self, prediction: Prediction, parts: list[str]) -> list[str]:
        if self._streamed:
            parts = [_as_streamed(part) for part in parts]
        missing = 0
        if self._received:
            parts, missing = _beyond(parts, self._received)
        if missing and prediction.status == "succeeded":
            raise self._restarted(prediction)
        whole, length = "".join(parts), self._forgotten + self._kept
        if self._continues(whole):
            if sum(map(len, parts[: self._count])) == length:
                return parts[self._count :]
            return [whole[length:]]
        if prediction.status != "succeeded" and self._is_ahead_of(whole):
            return []  # the stream was ahead of what the API knows, or still keeps
        raise self._restarted(prediction)

    def _continues(self, whole: str) -> bool:
        """Tell whether *whole* begins with what was handed on."""
        return self._has_beginning_of(whole) and whole.startswith(self.text, self._forgotten)

    def _is_ahead_of(self, whole: str) -> bool:
        """Tell whether what was handed on begins with *whole*, as far as that is known."""
        if len(whole) < self._forgotten:
            return True  # nothing of it is handed on, and a longer one will be looked at
        return self._has_beginning_of(whole) and self.text.startswith(whole[self._forgotten :])

    def _has_beginning_of(self, whole: str) -> bool:
        """Tell whether *whole* begins with what is not kept any more."""
        if self._hash is None:
            return True
        beginning = _as_bytes(whole[: self._forgotten])
        return hashlib.blake2b(beginning).digest() == self._hash.digest()

    def _restarted(self, prediction: Prediction) -> StreamRestartedError:
        return self.told(
            StreamRestartedError(
                f"The output of {prediction.id} is not a continuation of what was streamed; read "
                "it whole with predictions.get."
            )
        )


def _beyond(parts: list[str], characters: int) -> tuple[list[str], int]:
    """Return *parts* without their first *characters*, and how many of those there are not."""
    for at, part in enumerate(parts):
        if characters < len(part):
            return [part[characters:], *parts[at + 1 :]], 0
        characters -= len(part)
    return [], characters


def _parts(output: object) -> list[str]:
    if isinstance(output, list):
        return [_part(item) for item in cast("list[object]", output)]
    return [_part(output)]


def _part(item: object) -> str:
    return item if isinstance(item, str) else msgspec.json.encode(item).decode()


def _as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _as_streamed(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
