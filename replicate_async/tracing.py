"""Spans around requests and runs: the interface of a tracer, which does nothing by default."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Final

from replicate_async.schemas import Prediction

__all__ = ["NO_SPAN", "NO_TRACING", "RequestSpan", "RunSpan", "Tracing", "traced"]

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NOWHERE: Final = nullcontext()


class RequestSpan:
    """The span of one attempt of a request; it is current until its end."""

    def end(self, *, status: int | None, error: str | None, seconds: float, waited: float) -> None:
        """End the span, with what `ResponseEvent` has."""


class RunSpan:
    """The span of one run: of ``run``, a stream, or an item of a batch."""

    def active(self) -> AbstractContextManager[object]:
        """Make the span current for a block; it may be entered many times."""
        return _NOWHERE

    def seen(self, run: Prediction) -> None:
        """Describe the span by a state of its *run*."""

    def received(self, *, has_output: bool, is_last: bool) -> None:
        """Note that events of a stream arrived; the span ends with the last ones."""

    def end(self, error: BaseException | None = None) -> None:
        """End the span, with the *error* of the run; a second call does nothing."""


NO_SPAN: Final = RunSpan()


class Tracing:
    """Makes the spans of a client; its methods do nothing here, and raise nothing anywhere."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that carry the current span to the API."""
        return _NO_HEADERS

    def request(self, operation: str, attempt: int, url: str, *, is_poll: bool) -> RequestSpan:  # noqa: ARG002 - for tracers
        """Begin the span of an attempt, in the task that ends it.

        *operation* and *attempt* are those of `RequestEvent`. The *url* has no query and no token;
        that of a stream or file, whose path is a secret, is the origin alone. A poll is made for
        all waits, and belongs to the trace of none.
        """
        return RequestSpan()

    def run(
        self,
        model: str | None,  # noqa: ARG002 - as above
        url: str,  # noqa: ARG002 - as above
        *,
        is_stream: bool,  # noqa: ARG002 - as above
        redact: Callable[[str], str],  # noqa: ARG002 - as above
    ) -> RunSpan:
        """Begin the span of a run of *model*, which may be unknown, at the API at *url*.

        *redact* removes the token from a text of the server.
        """
        return NO_SPAN


NO_TRACING: Final = Tracing()


@contextmanager
def traced(span: RunSpan) -> Generator[RunSpan]:
    """Make *span* current for a block, and end it with the block."""
    try:
        with span.active():
            yield span
    except BaseException as error:
        span.end(error)
        raise
    span.end()
