"""The options that every create takes, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.schemas import CreatePredictionHeaders, WebhookEvent

EVENTS: Final = ("start", "output", "logs", "completed")
LONGEST_WAIT: Final = 60
_SHORTEST_DEADLINE: Final = 5
_LONGEST_DEADLINE: Final = 24 * 60 * 60
# parameters_cancel_after_header: seconds, or hours, minutes and seconds in that order.
_DURATION: Final = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


Wait = int | bool | None
Deadline = int | str | timedelta | None


class Hold(NamedTuple):
    """The headers of a create, and how many seconds the API may hold its answer for them."""

    headers: CreatePredictionHeaders | None
    seconds: float


def hold(wait: Wait, cancel_after: Deadline) -> Hold:
    """Return the headers that say how long to wait and when to give up."""
    prefer, seconds = _prefer(wait)
    deadline = _cancel_after(cancel_after)
    if prefer is None and deadline is None:
        return Hold(None, 0.0)
    return Hold(CreatePredictionHeaders(prefer=prefer, cancel_after=deadline), seconds)


def _prefer(wait: Wait) -> tuple[str | None, float]:
    if wait is None or wait is False:
        return None, 0.0
    if wait is True:
        return "wait", float(LONGEST_WAIT)
    if type(wait) is not int or not 1 <= wait <= LONGEST_WAIT:
        raise InvalidArgumentError(
            f"wait={wait!r} is not a whole number of seconds from 1 to {LONGEST_WAIT}; leave it "
            "out to get the prediction back at once."
        )
    return f"wait={wait}", float(wait)


def _cancel_after(value: Deadline) -> str | None:
    if value is None:
        return None
    seconds = _duration(value)
    if seconds is None or not _SHORTEST_DEADLINE <= seconds <= _LONGEST_DEADLINE:
        raise InvalidArgumentError(
            f"cancel_after={value!r} is not between 5 seconds and 24 hours; give seconds, a "
            'timedelta, or a string such as "90s", "5m" or "1h30m".'
        )
    return value if isinstance(value, str) else f"{seconds}s"


def _duration(value: int | str | timedelta) -> int | None:
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    match = _DURATION.fullmatch(value)
    if match is None or len(value) > 20:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (hours * 60 + minutes) * 60 + seconds


def check_webhook(url: str | None) -> str | None:
    """Return *url* if a webhook can be sent there: https, or http on this machine."""
    if url is None:
        return None
    parts = urlsplit(url) if url.isprintable() and " " not in url else None
    if (
        parts is not None
        and parts.hostname
        and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))
    ):
        return url
    # Only scheme and host are shown: people put secrets into the query of their webhooks.
    shown = f"{parts.scheme}://{parts.hostname or ''}…" if parts is not None else "that"
    raise InvalidArgumentError(
        f"webhook is {shown}, which cannot be called; it must be an absolute https:// URL."
    )


def check_events(events: Sequence[WebhookEvent] | None) -> list[WebhookEvent] | None:
    """Return *events* as a list if each is one that the API sends."""
    if events is None:
        return None
    for event in (events,) if isinstance(events, str) else events:
        if event not in EVENTS or isinstance(events, str):
            raise InvalidArgumentError(
                f"webhook_events_filter={shorten(events)} is not a list of {', '.join(EVENTS)}."
            )
    return list(events)
