"""Faults: what a test asks the server to do wrong, and how often.

Nothing happens unless it was added, and every answer that was touched says so in the header
`replicate-local-fault`. `http.fault_injection` carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MARK: Final = "replicate-local-fault"
EVERYTHING: Final = "*"
PROBLEM_JSON: Final = "application/problem+json"


@dataclass
class Fault:
    """One kind of trouble with an operation; `left` says how often it still happens."""

    operation: str
    left: int
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

    @property
    def mark(self) -> dict[str, str]:
        """The header that says that an answer was touched."""
        return {MARK: self.operation}

    @property
    def replaces(self) -> bool:
        """Whether it stands in the place of the operation's own answer."""
        return self.status is not None


class Faults:
    """The trouble that a server was asked for."""

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
        """Make trouble with the next *times* requests of *operation*; faults queue up in order.

        *operation* is an operationId such as "predictions.get", "streams", "delivery" (of output
        files) or "*". *status* answers with that status instead, with *body*, *content_type*,
        *headers* and *retry_after*. *delay* waits so many seconds before the answer, *pause*
        between its 64 byte pieces (or a stream's events). *cut_after* closes the connection after
        so many bytes of the answer, headers included (of a stream: of its events),
        *cut_after_events* after so many events, *omit_done* before the `done`; with *reset* the
        connection is reset rather than closed. *perform* says whether the operation is carried
        out before its answer is replaced or cut: it is when cut, and is not when replaced, unless
        said otherwise.
        """
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
        """Forget all trouble that has not happened yet."""
        self._faults.clear()

    def take(self, operation: str) -> Fault | None:
        """Return the trouble that is due for a request of *operation*, and count it."""
        for fault in self._faults:
            if fault.operation in {operation, EVERYTHING}:
                fault.left -= 1
                fault.happened += 1
                if fault.left <= 0:
                    self._faults.remove(fault)
                return fault
        return None
