"""Ids of events, from which a browser that reconnects resumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from replicate_async.errors import InvalidArgumentError

_END: Final = "end"
_ID: Final = re.compile(
    r"(?P<prediction>[A-Za-z0-9_-]{1,64})/(?:end|(?P<sent>[0-9]{1,12})/(?P<event>[\x20-\x7e]{0,200}))"
)
_FIT_FOR_A_HEADER: Final = re.compile(r"[\x20-\x7e]{0,200}")


class ResumePoint(NamedTuple):
    """Where a browser left off; `resume_point` reads it from a request."""

    prediction_id: str
    """The prediction, for ``predictions.stream``."""
    last_event_id: str = ""
    """The event to go on after, for ``predictions.stream``."""
    chars_sent: int = 0
    """The characters of output that the browser has: its place where events have no id."""
    finished: bool = False
    """Whether it has seen the end; a 204 keeps it from reconnecting."""

    def __str__(self) -> str:
        if self.finished:
            return end_id(self.prediction_id)
        return event_id(self.prediction_id, self.chars_sent, self.last_event_id)

    @classmethod
    def parse(cls, text: str) -> ResumePoint:
        """Return the point in the id of an event.

        Args:
            text: The id, as `to_sse` sent it.

        Raises:
            InvalidArgumentError: It is not the id of such an event.
        """
        match = _ID.fullmatch(text)
        if match is None:
            raise InvalidArgumentError(
                "This is not the id of an event of a stream; pass the last one that was received."
            )
        if match["sent"] is None:
            return cls(match["prediction"], finished=True)
        return cls(match["prediction"], match["event"], int(match["sent"]))


def event_id(prediction_id: str, sent: int, upstream: str) -> str:
    """Return the id of an event after which the browser has *sent* characters of output."""
    if not _FIT_FOR_A_HEADER.fullmatch(upstream):
        upstream = ""
    return f"{prediction_id}/{sent}/{upstream}"


def end_id(prediction_id: str) -> str:
    """Return the id of the last event of a prediction."""
    return f"{prediction_id}/{_END}"


def resume_point(
    headers: Mapping[str, str],
    query: Mapping[str, str] | None = None,
    *,
    prediction_id: str | None = None,
) -> ResumePoint | None:
    """Return where the browser that sends this request left off, or None if it begins.

    An ``EventSource`` that reconnects sends the header ``Last-Event-ID``. A page that was loaded
    again can send ``last_event_id`` in the query; the header is preferred. An id that is malformed
    is ignored.

    Args:
        headers: The headers of the request, their names in any case.
        query: The query of the request.
        prediction_id: The prediction that is asked for; an id of another one is ignored.
    """
    sources = [header_value(headers, "last-event-id")]
    if query is not None:
        sources.append(query.get("last_event_id", ""))
    for text in sources:
        match = _ID.fullmatch(text)
        if match is not None and prediction_id in {None, match["prediction"]}:
            return ResumePoint.parse(text)
    return None


def header_value(headers: Mapping[str, str], name: str) -> str:
    """Return the value of a header; the case of its name does not matter."""
    return next((value for key, value in headers.items() if key.lower() == name), "")
