"""Checks of arguments, and the headers of a create."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

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


Wait: TypeAlias = int | bool | None
"""How long the API holds its answer to a create: 1 to 60 seconds, or True for 60."""

Deadline: TypeAlias = int | str | timedelta | None
"""When the API cancels a run, 5 seconds to 24 hours: seconds, a timedelta or "1h30m"."""


class CreateHeaders(NamedTuple):
    """The headers of a create, and the seconds for which the API may hold its answer."""

    headers: CreatePredictionHeaders | None
    hold: float


_NO_HEADERS: Final = CreateHeaders(None, 0.0)


def create_headers(wait: Wait, cancel_after: Deadline) -> CreateHeaders:
    """Return the headers for *wait* and *cancel_after*."""
    if (wait is None or wait is False) and cancel_after is None:
        return _NO_HEADERS
    prefer, seconds = _prefer(wait)
    deadline = _cancel_after(cancel_after)
    return CreateHeaders(CreatePredictionHeaders(prefer=prefer, cancel_after=deadline), seconds)


def _prefer(wait: Wait) -> tuple[str | None, float]:
    if wait is None or wait is False:
        return None, 0.0
    if wait is True:
        return "wait", float(LONGEST_WAIT)
    if type(wait) is not int or not 1 <= wait <= LONGEST_WAIT:
        raise InvalidArgumentError(
            f"wait={shorten(wait)} is not a whole number of seconds from 1 to {LONGEST_WAIT}; "
            "leave it out to get the prediction back at once."
        )
    return f"wait={wait}", float(wait)


def _cancel_after(value: Deadline) -> str | None:
    if value is None:
        return None
    seconds = _duration(value)
    if seconds is None or not _SHORTEST_DEADLINE <= seconds <= _LONGEST_DEADLINE:
        raise InvalidArgumentError(
            f"cancel_after={shorten(value)} is not between 5 seconds and 24 hours; give seconds, a "
            'timedelta, or a string such as "90s", "5m" or "1h30m".'
        )
    return value if isinstance(value, str) else f"{seconds}s"


def _duration(value: object) -> int | None:
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if not isinstance(value, str):
        return None
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
    parts = _split(url)
    host = parts.hostname if parts is not None else None
    if (
        parts is not None
        and host
        and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))
    ):
        return url
    # Only scheme and host are shown: the query of a webhook may hold a secret.
    shown = f"begins with {parts.scheme}://{host}" if parts and host else "is not a whole URL"
    raise InvalidArgumentError(
        f"webhook= {shown}; it must be an absolute https:// URL, which the API can call."
    )


def _split(url: object) -> SplitResult | None:
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return None
    try:
        return urlsplit(url)
    except ValueError:
        return None


def check_events(events: Sequence[WebhookEvent] | None) -> list[WebhookEvent] | None:
    """Return *events* as a list; raises `InvalidArgumentError` for an unknown event."""
    if events is None:
        return None
    if not _is_list(events) or any(event not in EVENTS for event in events):
        raise InvalidArgumentError(
            f"webhook_events_filter={shorten(events)} is not a list of {', '.join(EVENTS)}."
        )
    return list(events)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def check_search(query: object) -> None:
    """Raise `InvalidArgumentError` unless *query* is a string that is not blank."""
    if not isinstance(query, str) or not query.strip():
        what = "is empty" if isinstance(query, str) else "is not a string"
        raise InvalidArgumentError(f"query={shorten(query)} {what}; say what to search for.")
