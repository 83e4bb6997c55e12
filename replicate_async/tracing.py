"""Spans around requests and runs: the interface of a tracer, which does nothing by default."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Final

from replicate_async.schemas import Prediction

__all__ = ["RequestSpan", "RunSpan", "Tracing"]

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NOWHERE: Final = nullcontext()


class RequestSpan:
    """The span of one attempt of a request; it is current until its end."""

    def end(self, *, status: int | None, error: str | None, seconds: float, waited: float) -> None:
        """End the span; the arguments are those of `ResponseEvent`.

        Args:
            status: The HTTP status; None without an answer.
            error: The name of the error's class, if the attempt failed.
            seconds: From the permit to send until the answer was read.
            waited: Seconds that it was held back for the rate limit.
        """


class RunSpan:
    """The span of one run: of ``run``, a stream, or an item of a batch."""

    def active(self) -> AbstractContextManager[object]:
        """Make the span current for a block; it may be entered many times."""
        return _NOWHERE

    def seen(self, run: Prediction) -> None:
        """Describe the span by a state of its run.

        Args:
            run: The prediction as the API showed it; of a repeated run, each one in turn.
        """

    def received(self, *, has_output: bool, is_last: bool) -> None:
        """Note that events of a stream arrived; the span ends with the last ones.

        Args:
            has_output: Whether a part of the output is among them.
            is_last: Whether the end of the stream is among them.
        """

    def end(self, error: BaseException | None = None) -> None:
        """End the span; a second call does nothing.

        Args:
            error: The error of the run; None if it succeeded.
        """


NO_SPAN: Final = RunSpan()


class Tracing:
    """Makes the spans of a client; its methods do nothing here, and raise nothing anywhere.

    A subclass of it is a tracer for ``Hooks(tracing=)``.
    """

    def headers(self) -> Mapping[str, str]:
        """Return the headers that carry the current span to the API."""
        return _NO_HEADERS

    def request(self, operation: str, attempt: int, url: str, *, is_poll: bool) -> RequestSpan:  # noqa: ARG002 - for tracers
        """Begin the span of an attempt, in the task that ends it.

        Args:
            operation: Method and path template, as in `RequestEvent`.
            attempt: Its number, from 1.
            url: The URL without query and token; of a stream or file, whose path is a secret, the
                origin alone.
            is_poll: Whether it is a poll, which is made for all waits and belongs to the trace of
                none.
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
        """Begin the span of a run.

        Args:
            model: The model, if it is known.
            url: The URL of the API.
            is_stream: Whether the output is streamed.
            redact: Removes the token from a text of the server.
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
