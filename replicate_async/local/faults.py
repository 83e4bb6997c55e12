"""Faults: errors, delays and broken connections that a test orders.

Each answer that a fault has changed carries the header `replicate-local-fault`.
`http.fault_injection` carries them out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from replicate_async.arguments import check_count, check_flags, check_seconds
from replicate_async.errors import InvalidArgumentError
from replicate_async.interface.refusal import near
from replicate_async.resources.endpoints import ENDPOINTS

MARK: Final = "replicate-local-fault"
EVERYTHING: Final = "*"
PROBLEM_JSON: Final = "application/problem+json"
_OPERATIONS: Final = (*ENDPOINTS, "streams", "delivery", EVERYTHING)


@dataclass
class Fault:
    """One fault of an operation; the other fields are the arguments of `Faults.add`."""

    operation: str
    left: int
    """For how many more requests."""
    status: int | None = None
    body: bytes | None = None
    content_type: str = PROBLEM_JSON
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    retry_after: int | None = None
    delay: float = 0.0
    pause: float = 0.0
    cut_after: int | None = None
    cut_after_events: int | None = None
    omit_done: bool = False
    reset: bool = False
    perform: bool = True
    happened: int = 0
    """How many requests had it."""

    @property
    def mark(self) -> dict[str, str]:
        """The header of an answer that the fault has changed."""
        return {MARK: self.operation}

    @property
    def replaces(self) -> bool:
        """Whether it replaces the operation's answer."""
        return self.status is not None


class Faults:
    """The faults of a server, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        operation: str,
        *,
        times: int = 1,
        status: int | None = None,
        body: bytes | str | None = None,
        content_type: str = PROBLEM_JSON,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        delay: float = 0.0,
        pause: float = 0.0,
        cut_after: int | None = None,
        cut_after_events: int | None = None,
        omit_done: bool = False,
        reset: bool = False,
        perform: bool | None = None,
    ) -> Fault:
        """Add a fault to the next *times* requests of *operation*, after the faults added before.

        Example::

            server.faults.add("predictions.create", status=503)

        Args:
            operation: An operationId, "streams", "delivery" (of output files), or "*" for all.
            times: For how many requests.
            status: The status to answer with instead of the operation's answer.
            body: The body of that answer; a problem unless given.
            content_type: The media type of that body.
            headers: Headers that are added to the answer.
            retry_after: Seconds in `Retry-After`.
            delay: Seconds before the answer.
            pause: Seconds between its pieces of 64 bytes, or between a stream's events.
            cut_after: Bytes of the answer, headers included, after which the connection is
                closed; of a stream, bytes of its events.
            cut_after_events: Events of a stream after which the connection is closed.
            omit_done: Whether a stream ends without its `done`.
            reset: Whether the connection is reset rather than closed.
            perform: Whether the operation is carried out; unless given, it is when the answer is
                cut, and is not when it is replaced.

        Raises:
            InvalidArgumentError: There is no such operation, or a number is out of range.
        """
        if operation not in _OPERATIONS:
            meant = near(operation, _OPERATIONS) or "predictions.create"
            raise InvalidArgumentError(
                f'operation={operation!r} is unknown; give an operationId such as "{meant}", or '
                '"streams", "delivery" or "*".'
            )
        check_count("times", times, 1, sys.maxsize, optional=False)
        check_count("status", status, 200, 599)
        for name, count in (("retry_after", retry_after), ("cut_after", cut_after)):
            check_count(name, count, 0, sys.maxsize)
        check_count("cut_after_events", cut_after_events, 0, sys.maxsize)
        check_seconds("delay", delay)
        check_seconds("pause", pause)
        check_flags(omit_done=omit_done, reset=reset)
        fault = Fault(
            operation=operation,
            left=times,
            status=status,
            body=body.encode() if isinstance(body, str) else body,
            content_type=content_type,
            headers=headers or {},
            retry_after=retry_after,
            delay=delay,
            pause=pause,
            cut_after=0 if reset and cut_after is None and cut_after_events is None else cut_after,
            cut_after_events=cut_after_events,
            omit_done=omit_done,
            reset=reset,
            perform=status is None if perform is None else perform,
        )
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take(self, operation: str) -> Fault | None:
        """Return the fault for a request, and count it.

        Args:
            operation: The operationId of the request.
        """
        for fault in self._faults:
            if fault.operation in {operation, EVERYTHING}:
                fault.left -= 1
                fault.happened += 1
                if fault.left <= 0:
                    self._faults.remove(fault)
                return fault
        return None
