"""Spans and metrics of a client's requests and runs, by OpenTelemetry.

    client = Replicate(hooks=Hooks(tracing=OpenTelemetry()))

Names are those of the semantic conventions for HTTP clients and for generative AI; what they do not
name begins with "replicate.". No prompt, output, body, error message or token is in any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from time import monotonic, time_ns
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from replicate_async.core.endpoint import shorten
from replicate_async.core.usage import usage_of
from replicate_async.core.version import __version__
from replicate_async.errors import InvalidArgumentError
from replicate_async.schemas import Prediction
from replicate_async.tracing import NO_SPAN, RequestSpan, RunSpan, Tracing

try:
    from opentelemetry import context, metrics, propagate, trace
except ImportError as _missing:
    raise ImportError(
        "This needs opentelemetry-api: pip install 'replicate-async[otel]'."
    ) from _missing

__all__ = ["OpenTelemetry", "trace_context", "with_trace"]

_NAME: Final = "replicate_async"
_OPERATION: Final = "generate_content"
"""The conventions' name for making content of any kind."""

# The boundaries that the conventions advise.
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_RUN_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
_TOKENS: Final = tuple(4**power for power in range(14))

_log = logging.getLogger(_NAME)


class _Logged:
    """Logs an exception of OpenTelemetry or its plugins and goes on: an answer may be paid for."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception):
            return False
        _log.error("OpenTelemetry raised an exception", exc_info=error)
        return True


_LOGGED: Final = _Logged()


class OpenTelemetry(Tracing):
    """Makes spans and metrics of a client's requests and runs; for ``Hooks(tracing=)``.

    An exception of a span processor, propagator or meter is logged, and changes nothing.

    Example::

        client = Replicate(hooks=Hooks(tracing=OpenTelemetry()))

    Args:
        tracer_provider: Makes the spans; the global one by default.
        meter_provider: Makes the metrics; the global one by default.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        self._meters = _Meters(metrics.get_meter(_NAME, __version__, meter_provider))

    def headers(self) -> Mapping[str, str]:
        """Return the current trace context by the global propagator, without baggage."""
        with _LOGGED:
            return _carrier()
        return {}

    def request(self, operation: str, attempt: int, url: str, *, is_poll: bool) -> RequestSpan:
        """Begin the span of an attempt; a poll has none, and is in the metrics only.

        Args:
            operation: Method and path template.
            attempt: Its number, from 1.
            url: The URL, without query and token.
            is_poll: Whether it is a poll, which is made for all waits.
        """
        with _LOGGED:
            tracer = None if is_poll else self._tracer
            return _RequestSpan(tracer, self._meters, operation, attempt, url)
        return RequestSpan()

    def run(
        self, model: str | None, url: str, *, is_stream: bool, redact: Callable[[str], str]
    ) -> RunSpan:
        """Begin the span of a run.

        Args:
            model: The model, if it is known.
            url: The URL of the API.
            is_stream: Whether the output is streamed.
            redact: Removes the token from a text of the server.
        """
        with _LOGGED:
            return _RunSpan(
                *(self._tracer, self._meters, model, url), is_stream=is_stream, redact=redact
            )
        return NO_SPAN


def with_trace(url: str) -> str:
    """Return the *url* of a webhook with the current trace context in its query.

    The service sends no headers of the caller's with a webhook. `trace_context` reads it again.

    Example::

        webhook = with_trace("https://example.com/webhook")
        await client.predictions.create("owner/name", {"prompt": "Hi"}, webhook=webhook)

    Args:
        url: The URL of the webhook.

    Raises:
        InvalidArgumentError: *url* is no URL.
    """
    try:
        parts = urlsplit(url)
    except (AttributeError, ValueError):
        raise InvalidArgumentError(
            f"url={shorten(url)} is no URL; give that of a webhook."
        ) from None
    query = "&".join(part for part in (parts.query, urlencode(_carrier())) if part)
    return parts._replace(query=query).geturl()


def trace_context(url: str) -> context.Context:
    """Return the trace context in the *url* that a webhook was sent to.

    The signature of a webhook does not cover its URL: link to this context, or trust it, as with
    the headers of any request.

    Args:
        url: The URL that was called, with its query.
    """
    try:
        found = dict(parse_qsl(urlsplit(url).query))
    except ValueError:  # anyone can send such a Host
        found = {}
    found.pop("baggage", None)
    return propagate.extract(found)


def _carrier() -> dict[str, str]:
    found: dict[str, str] = {}
    propagate.inject(found)
    found.pop("baggage", None)  # may name the application's users, to another company
    return found


class _Meters:
    """The instruments of the metrics."""

    def __init__(self, meter: metrics.Meter) -> None:
        def histogram(
            name: str, unit: str, description: str, boundaries: Sequence[float]
        ) -> metrics.Histogram:
            return meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=boundaries
            )

        self.request_duration = histogram(
            *("http.client.request.duration", "s", "Duration of HTTP client requests."),
            _HTTP_SECONDS,
        )
        self.held_back = histogram(
            *("replicate.client.pacing.duration", "s", "Time held back for the rate limit."),
            _RUN_SECONDS,
        )
        self.retries = meter.create_counter(
            "replicate.client.request.retries", "{retry}", "Attempts after the first."
        )
        self.run_duration = histogram(
            *("gen_ai.client.operation.duration", "s", "Duration of runs."), _RUN_SECONDS
        )
        self.first_chunk = histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            *("s", "Time until the first output of a stream."),
            _RUN_SECONDS,
        )
        self.tokens = histogram(
            *("gen_ai.client.token.usage", "{token}", "Tokens of runs."), _TOKENS
        )
        self.predict_duration = histogram(
            *("replicate.client.predict.duration", "s", "Time that models worked."), _RUN_SECONDS
        )
        self.queue_duration = histogram(
            *("replicate.client.queue.duration", "s", "Time from creation to start."), _RUN_SECONDS
        )


class _RequestSpan(RequestSpan):
    """The span of an attempt; without a *tracer*, only its metrics."""

    def __init__(
        self, tracer: trace.Tracer | None, meters: _Meters, operation: str, attempt: int, url: str
    ) -> None:
        method, _, template = operation.partition(" ")
        self._meters = meters
        self._attempt = attempt
        self._attributes: dict[str, str | int] = {"http.request.method": method, **_server(url)}
        own: dict[str, str | int] = {}
        if template.startswith("/"):
            self._attributes["url.template"] = template
            own["url.full"] = url
        if attempt > 1:
            own["http.request.resend_count"] = attempt - 1
        self._span: trace.Span = trace.INVALID_SPAN
        self._before = None
        if tracer is not None:
            self._span = tracer.start_span(
                operation, kind=trace.SpanKind.CLIENT, attributes=self._attributes | own
            )
            self._before = context.attach(trace.set_span_in_context(self._span))

    def end(self, *, status: int | None, error: str | None, seconds: float, waited: float) -> None:
        with _LOGGED:
            found: dict[str, str | int] = {}
            if status is not None:
                found["http.response.status_code"] = status
            if kind := str(status) if status is not None and status >= 400 else error:
                found["error.type"] = kind
                self._span.set_status(trace.StatusCode.ERROR)
            self._span.set_attributes(found)
            if waited >= 0.001:
                self._span.set_attribute("replicate.pacing.duration", waited)
            attributes = self._attributes | found
            self._meters.request_duration.record(seconds, attributes)
            self._meters.held_back.record(waited, self._attributes)
            if self._attempt > 1:
                self._meters.retries.add(1, self._attributes)
        if self._before is not None:
            context.detach(self._before)
        with _LOGGED:
            self._span.end()


class _RunSpan(RunSpan):
    """The span of a run, and its metrics."""

    def __init__(
        self,
        tracer: trace.Tracer,
        meters: _Meters,
        model: str | None,
        url: str,
        *,
        is_stream: bool,
        redact: Callable[[str], str],
    ) -> None:
        self._meters = meters
        self._redact = redact
        self._attributes: dict[str, str | int] = {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.provider.name": "replicate",
            **_server(url),
        }
        if model is not None:
            self._attributes["gen_ai.request.model"] = model
        own = {"gen_ai.request.stream": True} if is_stream else {}
        self._span = tracer.start_span(
            _OPERATION if model is None else f"{_OPERATION} {model}",
            kind=trace.SpanKind.CLIENT,
            attributes={**self._attributes, **own},
        )
        self._began = monotonic()
        self._has_output = self._is_over = False
        self._last: tuple[float, int] | None = None
        """When the last event of a stream arrived, by both clocks."""
        self._ended: str | None = None
        """The id of the last run that was seen to have ended."""
        self._failure: str | None = None

    def active(self) -> AbstractContextManager[object]:
        with _LOGGED:
            # An exception's message and traceback may hold a prompt.
            return trace.use_span(
                self._span,
                end_on_exit=False,
                record_exception=False,
                set_status_on_exception=False,
            )
        return nullcontext()

    def received(self, *, has_output: bool, is_last: bool) -> None:
        with _LOGGED:
            now = monotonic()
            if has_output and not self._has_output:
                self._has_output = True
                self._span.set_attribute("gen_ai.response.time_to_first_chunk", now - self._began)
                self._meters.first_chunk.record(now - self._began, self._attributes)
            if is_last:
                self._last = now, time_ns()

    def seen(self, run: Prediction) -> None:
        with _LOGGED:
            self._span.set_attribute("gen_ai.response.id", self._redact(run.id))
            if run.model is not None:
                self._span.set_attribute("gen_ai.response.model", self._redact(run.model))
            if run.done and run.id != self._ended:
                self._ended = run.id
                self._count(run)

    def _count(self, run: Prediction) -> None:
        """Describe a run that has ended, and count what it used."""
        self._failure = None
        status = self._redact(run.status)
        self._span.set_attribute("replicate.prediction.status", status)
        if status not in {"succeeded", "canceled"}:  # a stream that is left cancels its run
            self._failure = f"Prediction{status.capitalize()}"
        if run.error_code is not None:
            self._span.set_attribute("replicate.prediction.error_code", run.error_code)
        used = usage_of(run.metrics or {})
        for kind, tokens in (("input", used.input_tokens), ("output", used.output_tokens)):
            if tokens:
                self._span.set_attribute(f"gen_ai.usage.{kind}_tokens", tokens)
                attributes = {**self._attributes, "gen_ai.token.type": kind}
                self._meters.tokens.record(tokens, attributes)
        if used.predict_seconds:
            self._span.set_attribute("replicate.predict.duration", used.predict_seconds)
            self._meters.predict_duration.record(used.predict_seconds, self._attributes)
        if run.created_at is not None and run.started_at is not None:
            queued = max(0.0, (run.started_at - run.created_at).total_seconds())
            self._span.set_attribute("replicate.queue.duration", queued)
            self._meters.queue_duration.record(queued, self._attributes)

    def end(self, error: BaseException | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        last = getattr(error, "prediction", None)
        if isinstance(last, Prediction):
            self.seen(last)
        with _LOGGED:
            found: dict[str, str | int] = {}
            if kind := self._failure if error is None else type(error).__name__:
                found["error.type"] = kind
                self._span.set_attribute("error.type", kind)
                self._span.set_status(trace.StatusCode.ERROR)
            ended = self._last[0] if self._last else monotonic()
            with self.active():
                self._meters.run_duration.record(ended - self._began, self._attributes | found)
        with _LOGGED:
            self._span.end(self._last and self._last[1])


@lru_cache(maxsize=256)
def _server(url: str) -> Mapping[str, str | int]:
    """Return the attributes of the server in *url*, none if it cannot be read."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {"server.address": host, "server.port": port or (80 if parts.scheme == "http" else 443)}
