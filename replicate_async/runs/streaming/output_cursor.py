"""The position of a stream in the output of its run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar, cast

import msgspec

from replicate_async.core.sse import Event, Outputs, Received
from replicate_async.errors import StreamError, StreamIncompleteError, StreamRestartedError
from replicate_async.schemas import Prediction

_MOST_RECENT: Final = 256
"""Events whose ids and parts are not joined yet."""
_MANY: Final = 32
"""Events of one batch that are joined at once."""
_LARGE: Final = 4096
"""Characters of an event, its id included, that is joined at once."""
_TEXT_KEPT: Final = 256 * 1024
"""Characters at the end of the output that are kept; at times twice as many."""
_IDS_KEPT: Final = 2 * 1024 * 1024
"""Characters of ids, some 140,000 of the service's; a longer stream is not resumed but polled."""

StreamErrorT = TypeVar("StreamErrorT", bound=StreamError)


class OutputCursor:
    """The events that a stream has handed over, so that the rest of a run can be found.

    streamed: the events come from a stream, which turns every line end into LF.
    files: the parts of the output are files. Their URLs may change, their number does not.
    resumed: the reader has read output before this stream; *received* is the number of its
        characters, if known.

    Only the end of the output is kept. Of the text before it there is the length and a hash, which
    show whether the output of a run continues it.
    """

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
        # The last ids and parts; joining many at once costs a third of joining each.
        self._recent_ids: list[str] = []
        self._recent_parts: list[str] = []
        # Joined, as a part of four letters takes the memory of sixty.
        self._texts: list[str] = []
        self._kept = 0  # characters of _texts
        self._dropped = 0  # characters before them, which the hash covers
        self._hash: hashlib.blake2b | None = None
        # Joined by line ends, which no id contains: hashing each would take longer than reading it.
        self._ids: list[str] = []
        self._ids_kept = 0  # characters of _ids
        self._id_count = 0
        self._count = 0
        self._logged = 0
        self._failed = False
        self._resumable = True

    def add(self, events: Received) -> None:
        """Add *events*, which are handed over to the reader."""
        if isinstance(events, Outputs):
            if len(events.ids) >= _MANY:
                self._flush()
                self._join(events.ids, events.parts)
            else:
                self._recent_ids += events.ids
                self._recent_parts += events.parts
                if len(self._recent_ids) >= _MOST_RECENT:
                    self._flush()
            if not events.then:
                return
            events = events.then
        self._add_each(events)

    def _add_each(self, events: list[Event]) -> None:
        for event in events:
            name, id_ = event.event, event.id if event.has_id else ""
            if name == "output":
                self._recent_parts.append(event.data)
            elif name == "logs":
                self._logged += len(event.data)
            elif name == "error":
                self._failed = True
            elif not id_:
                continue
            if id_:
                self._recent_ids.append(id_)
            else:
                self._resumable = False
            if len(event.data) + len(id_) > _LARGE:
                self._flush()
        if len(self._recent_ids) >= _MOST_RECENT or len(self._recent_parts) >= _MOST_RECENT:
            self._flush()

    @property
    def count(self) -> int:
        """The number of parts of the output."""
        self._flush()
        return self._count

    @property
    def text(self) -> str:
        """The output as one text, or the end of a long one."""
        self._flush()
        return "".join(self._texts)

    def with_text(self, error: StreamErrorT) -> StreamErrorT:
        """Return *error* after adding the text that was handed over."""
        error.text = self.text
        error.received = self._dropped + self._kept
        return error

    def seen_ids(self) -> set[int] | None:
        """Return the hashes of all ids, or None when a server cannot resume by them.

        That is when an output, logs or error event had no id, when two events had the same, and
        when there are too many to keep.
        """
        self._flush()
        if not self._resumable:
            return None
        hashes = {hash(id_) for ids in self._ids for id_ in ids.split("\n")}
        return None if len(hashes) < self._id_count else hashes

    def _flush(self) -> None:
        self._join(self._recent_ids, self._recent_parts)
        self._recent_ids.clear()
        self._recent_parts.clear()

    def _join(self, ids: Sequence[str], parts: Sequence[str]) -> None:
        self._count += len(parts)
        if not self._files and (text := "".join(parts)):
            self._texts.append(text)
            self._kept += len(text)
            if self._kept > 2 * _TEXT_KEPT:
                self._drop()
        if ids and self._resumable:
            joined = "\n".join(ids)
            self._ids.append(joined)
            self._ids_kept += len(joined)
            self._id_count += len(ids)
            if self._ids_kept > _IDS_KEPT:
                self._resumable = False
                self._ids.clear()

    def _drop(self) -> None:
        """Keep the end of the output, and the length and a hash of the rest."""
        text = "".join(self._texts)
        rest = text[:-_TEXT_KEPT]
        if self._hash is None:
            self._hash = hashlib.blake2b()
        self._hash.update(_as_bytes(rest))
        self._dropped += len(rest)
        self._texts = [text[-_TEXT_KEPT:]]
        self._kept = _TEXT_KEPT

    def rest_of(self, prediction: Prediction) -> list[Event]:
        """Return the events of *prediction* that were not handed over, with its end if it ended.

        Raises `StreamRestartedError` when its output does not continue the text, and
        `StreamIncompleteError` when the output is gone.
        """
        self._flush()
        events = [] if self._resumed else self._rest_of_logs(prediction)
        events += [Event(event="output", data=part) for part in self._rest_of_output(prediction)]
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

    def _rest_of_logs(self, prediction: Prediction) -> list[Event]:
        logs = prediction.logs or ""
        rest = (_as_streamed(logs) if self._streamed else logs)[self._logged :]
        return [Event(event="logs", data=rest)] if rest else []

    def _rest_of_output(self, prediction: Prediction) -> list[str]:
        output: object = prediction.output
        if output is None and not (prediction.data_removed and prediction.status == "succeeded"):
            return []
        if not prediction.done and not isinstance(output, str | list):
            return []  # an object may still change
        is_unknown = self._resumed and self._received is None
        if is_unknown and prediction.done and prediction.status != "succeeded":
            return []  # the error of the run says more than that output is missing
        if is_unknown or output is None:
            raise self._incomplete(prediction)
        parts = _parts(prediction.output)
        return parts[self._count :] if self._files else self._rest_of_text(prediction, parts)

    def _incomplete(self, prediction: Prediction) -> StreamIncompleteError:
        if prediction.output is None:
            reason = "its output has been removed since; run the model again."
        else:
            reason = "it was resumed in the middle; read the whole output with predictions.get."
        message = f"The stream of {prediction.id} broke off, and {reason}"
        return self.with_text(StreamIncompleteError(message))

    def _rest_of_text(self, prediction: Prediction, parts: list[str]) -> list[str]:
        if self._streamed:
            parts = [_as_streamed(part) for part in parts]
        missing = 0
        if self._received:
            parts, missing = _after(parts, self._received)
        if missing and prediction.status == "succeeded":
            raise self._restarted(prediction)
        whole, length = "".join(parts), self._dropped + self._kept
        if self._is_continued_by(whole):
            if sum(map(len, parts[: self._count])) == length:
                return parts[self._count :]
            return [whole[length:]]
        if prediction.status != "succeeded" and self._is_ahead_of(whole):
            return []  # the API has less than the stream, for now or since the run failed
        raise self._restarted(prediction)

    def _is_continued_by(self, whole: str) -> bool:
        """Return whether *whole* begins with the text."""
        return self._dropped_begins(whole) and whole.startswith(self.text, self._dropped)

    def _is_ahead_of(self, whole: str) -> bool:
        """Return whether the text begins with *whole*, as far as that is known."""
        if len(whole) < self._dropped:
            return True  # nothing is handed over, and a longer output is compared later
        return self._dropped_begins(whole) and self.text.startswith(whole[self._dropped :])

    def _dropped_begins(self, whole: str) -> bool:
        """Return whether *whole* begins with the dropped part of the text."""
        if self._hash is None:
            return True
        beginning = _as_bytes(whole[: self._dropped])
        return hashlib.blake2b(beginning).digest() == self._hash.digest()

    def _restarted(self, prediction: Prediction) -> StreamRestartedError:
        return self.with_text(
            StreamRestartedError(
                f"The output of {prediction.id} does not continue the text of the stream; read it "
                "whole with predictions.get."
            )
        )


def _after(parts: list[str], characters: int) -> tuple[list[str], int]:
    """Return *parts* without their first *characters*, and how many of those are missing."""
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
