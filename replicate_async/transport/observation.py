"""What is told of a request: to hooks, to captures, and to the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from replicate_async.core.hooks import RequestHooks
from replicate_async.errors import APIStatusError, ReplicateError
from replicate_async.hooks import Hooks, RequestEvent, ResponseEvent, RetryEvent, call_hook
from replicate_async.tracing import RequestSpan

if TYPE_CHECKING:
    from replicate_async.transport.transport import Transport

_log = logging.getLogger("replicate_async")

_IDS: Final = ("x-request-id", "cf-ray")


class _Capture(NamedTuple):
    transport: Transport
    events: list[ResponseEvent]


_captures: ContextVar[tuple[_Capture, ...]] = ContextVar("captures", default=())
_running: set[int] = set()
"""The ids of the captures that are not over; without one, a request does not look for them."""


@contextmanager
def capture(transport: Transport) -> Generator[list[ResponseEvent]]:
    """Collect the events of the requests that this context sends with *transport*."""
    found = _Capture(transport, [])
    token = _captures.set((*_captures.get(), found))
    _running.add(id(found))
    try:
        yield found.events
    finally:
        _running.discard(id(found))
        _captures.reset(token)


def is_observed(hooks: Hooks | None) -> bool:
    """Return whether a request has to be told of."""
    if hooks is not None or _running:
        return True
    return _log.isEnabledFor(logging.INFO)


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the service's id of a request, from the *headers* of its answer."""
    return next((headers[name] for name in _IDS if name in headers), None)


def whole_number(header: str | None) -> int | None:
    """Return the number in *header*; None if there is none, or one of 10 digits and more."""
    return int(header) if header and len(header) < 10 and header.isdecimal() else None


class Observation(RequestHooks):
    """One attempt of a request, told of when it begins and when it ends.

    It stands around the *inner* hooks of the request. The *url* is without query and secrets, but
    for a token in it.
    """

    def __init__(
        self,
        transport: Transport,
        hooks: Hooks | None,
        operation: str,
        attempt: int,
        *,
        redact: Callable[[str], str],
        url: str,
        is_poll: bool = False,
        inner: RequestHooks | None = None,
    ) -> None:
        self._transport = transport
        self._hooks = hooks or Hooks()
        self._operation = operation
        self._attempt = attempt
        self._redact = redact
        self._url = url
        self._is_poll = is_poll
        self._span = RequestSpan()
        self._inner = inner or RequestHooks()
        self._asked_at = self._permitted_at = self._sent_at = monotonic()
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, APIStatusError):
            self._status, self._headers = error.status, error.headers
        event = self._event(error)
        for capture in _captures.get():
            if capture.transport is self._transport:
                capture.events.append(event)
        _log.info("%s", _Line(event))
        try:
            await call_hook(self._hooks.on_response, event)
        finally:
            self._span.end(
                status=event.status, error=event.error, seconds=event.seconds, waited=event.waited
            )

    async def begin(self) -> None:
        """Tell that the attempt has its permit and is sent."""
        self._permitted_at = monotonic()
        self._span = self._hooks.tracing.request(
            self._operation, self._attempt, self._redact(self._url), is_poll=self._is_poll
        )
        event = RequestEvent(operation=self._operation, attempt=self._attempt)
        await call_hook(self._hooks.on_request, event)
        await self._inner.begin()
        self._sent_at = monotonic()

    async def refused(self) -> None:
        """Pass on that the attempt did nothing."""
        await self._inner.refused()

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Keep what the answer says of itself."""
        self._status, self._headers = status, headers
        self._inner.answered(status, headers)

    def _event(self, error: BaseException | None) -> ResponseEvent:
        found = request_id(self._headers)
        remaining = self._headers.get("ratelimit-remaining")
        return ResponseEvent(
            operation=self._operation,
            attempt=self._attempt,
            status=self._status,
            seconds=monotonic() - self._sent_at,
            waited=self._permitted_at - self._asked_at,
            request_id=None if found is None else self._redact(found),
            rate_limit_remaining=whole_number(remaining),
            rate_limit_reset=_seconds(self._headers.get("ratelimit-reset", "")),
            error=None if error is None else type(error).__name__,
        )


async def tell_retry(
    hooks: Hooks | None, operation: str, attempt: int, delay: float, error: ReplicateError
) -> None:
    """Tell that *attempt* follows in *delay* seconds, because of *error*."""
    if hooks is not None and hooks.on_retry is not None:
        event = RetryEvent(operation=operation, attempt=attempt, delay=delay, error=error)
        await call_hook(hooks.on_retry, event)


class _Line:
    """The line of an event in the log, made only if it is written."""

    def __init__(self, event: ResponseEvent) -> None:
        self._event = event

    def __str__(self) -> str:
        event = self._event
        ended = event.error or ""
        if event.status is not None:
            ended = f"{event.status} {ended}".strip()
        line = f"{event.operation}: {ended} in {event.seconds:.3f} s, attempt {event.attempt}"
        if event.waited >= 0.001:
            line += f", held back {event.waited:.3f} s"
        return line if event.request_id is None else f"{line}, request {event.request_id}"


def _seconds(header: str) -> float | None:
    try:
        return float(header)
    except ValueError:
        return None
