"""Hooks and captures: what a client tells of its requests, without bodies and tokens."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from replicate_async.errors import ReplicateError
from replicate_async.tracing import NO_TRACING, Tracing

__all__ = ["Hooks", "RequestEvent", "ResponseEvent", "RetryEvent"]

Event = TypeVar("Event")

_log = logging.getLogger("replicate_async")


class RequestEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that is about to be sent."""

    operation: str
    """Method and path template, such as "POST /predictions"; "GET stream" or "GET file"."""
    attempt: int
    """Its number, from 1."""


class ResponseEvent(RequestEvent, frozen=True, kw_only=True):
    """The end of an attempt: an answer, or an error in place of one."""

    status: int | None = None
    """The HTTP status; None without an answer."""
    seconds: float
    """From the permit to send until the answer was read; of a stream or file, until it began."""
    waited: float = 0.0
    """Seconds that it was held back for the rate limit."""
    request_id: str | None = None
    """The id of the request at the service."""
    rate_limit_remaining: int | None = None
    """Requests that the API takes at once, as it says."""
    rate_limit_reset: float | None = None
    """Seconds until it takes more, as it says."""
    error: str | None = None
    """The name of the error's class, if the attempt failed."""


class RetryEvent(RequestEvent, frozen=True, kw_only=True):
    """An attempt that failed and is repeated; *attempt* is the number of the next one."""

    delay: float
    """Seconds until then."""
    error: ReplicateError


Hook: TypeAlias = Callable[[Event], Awaitable[None] | None]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions, or async functions, that a client calls around its requests.

    An async one is awaited before the request goes on. An exception that one raises is logged, and
    changes nothing: an answer may be paid for.

    Example::

        def show(event: ResponseEvent) -> None:
            print(event.operation, event.status, event.seconds)

        client = Replicate(hooks=Hooks(on_response=show))

    Args:
        on_request: Called with a `RequestEvent` before each attempt is sent.
        on_response: Called with a `ResponseEvent` after each attempt.
        on_retry: Called with a `RetryEvent` before the pause that precedes another attempt.
        tracing: Makes spans, such as ``integrations.otel.OpenTelemetry()``; none by default.
    """

    on_request: Hook[RequestEvent] | None = None
    on_response: Hook[ResponseEvent] | None = None
    on_retry: Hook[RetryEvent] | None = None
    tracing: Tracing = NO_TRACING


async def call_hook(hook: Hook[Event] | None, event: Event) -> None:
    """Call *hook* with *event*, if there is one; an exception of it is logged."""
    if hook is None:
        return
    try:
        result = hook(event)
        if inspect.isawaitable(result):
            await result
    except Exception:  # noqa: BLE001 - a hook must not lose an answer
        _log.exception("A hook raised an exception for %s", event)
