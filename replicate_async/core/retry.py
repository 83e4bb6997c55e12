"""When a failed attempt may be repeated, and after how long.

Three phases decide. A request that was *not sent* (no connection) and one that was *refused*
(429) did nothing, so anything may be repeated. After an *ambiguous* failure (a reset, a timeout,
a 5xx once the request had left) the server may have acted: what creates something is never
repeated, or it would be created, and paid for, twice.

Nothing here sleeps, draws or reads a clock: the caller passes the jitter and waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from replicate_async.core.backoff import backoff

__all__ = ["Failure", "Phase", "Retry", "RetryBudget", "phase_of_status"]

Phase: TypeAlias = Literal["not_sent", "refused", "ambiguous"]

TRANSIENT_COST: Final = 14
THROTTLING_COST: Final = 5

# A server that names a wait names the same one to every task of a batch.
_SPREAD: Final = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed, as far as repeating it is concerned.

    *retry_after* is the wait that the server asked for, in seconds; *throttled* is true when it
    said that there were too many requests.
    """

    phase: Phase
    retry_after: float | None = None
    throttled: bool = False


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently failed requests are repeated.

    *attempts* counts every try, so 1 never repeats. Before try n + 1 the client waits a random
    time between zero and `min(cap, base * 2 ** (n - 1))` seconds, with *throttle_base* in place
    of *base* after a 429. A wait that the server asks for is obeyed up to *max_wait* seconds; a
    longer one fails the call at once, with the wait on the error. *budget* bounds the repeats of
    all tasks of a client together: one costs 14 tokens (5 after a 429), a success brings tokens
    back, and with none left failures are raised at once, so that an outage does not multiply
    traffic.

    Raises `ValueError` for values that make no sense.
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0
    throttle_base: float = 1.0
    max_wait: float = 60.0
    budget: int = 500

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(
                f"Retry(attempts={self.attempts}): use 1 to send each request once, or more."
            )
        for name in ("base", "cap", "throttle_base", "max_wait"):
            seconds: float = getattr(self, name)
            if not 0 <= seconds < math.inf:
                raise ValueError(
                    f"Retry({name}={seconds}): use a finite number of seconds, 0 or more."
                )
        if self.budget < 0:
            raise ValueError(f"Retry(budget={self.budget}): use 0 to never repeat, or more.")

    def delay(
        self, attempt: int, failure: Failure, *, repeatable: bool, jitter: float
    ) -> float | None:
        """Return the seconds to wait before the next try, or None to give up.

        *attempt* is the number of the try that failed, counted from 1. *repeatable* says whether
        the request does no harm when the server acts on it twice. *jitter* is uniform in [0, 1).
        """
        if attempt >= self.attempts or (failure.phase == "ambiguous" and not repeatable):
            return None
        base = self.throttle_base if failure.throttled else self.base
        pause = backoff(attempt, base=base, cap=self.cap, jitter=jitter)
        if failure.retry_after is None:
            return pause
        if not failure.retry_after <= self.max_wait:
            return None
        later = backoff(attempt, base=base, cap=min(self.cap, _SPREAD), jitter=jitter)
        return max(pause, failure.retry_after + later)


class RetryBudget:
    """The tokens that all tasks of a client share for repeating requests."""

    __slots__ = ("_capacity", "_tokens")

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"RetryBudget({capacity}): use 0 to never repeat, or more.")
        self._capacity = capacity
        self._tokens = capacity

    @property
    def tokens(self) -> int:
        """The tokens left, between 0 and the capacity."""
        return self._tokens

    def spend(self, failure: Failure) -> bool:
        """Pay for repeating after *failure*; False, with nothing taken, if it is too dear."""
        cost = _cost(failure)
        if cost > self._tokens:
            return False
        self._tokens -= cost
        return True

    def refund(self, failure: Failure | None = None) -> None:
        """Give tokens back for a success, or for a repeat that was paid for and never sent.

        *failure* is the last one that was paid for; its cost returns. A success at the first try
        has none and brings one token.
        """
        if self._tokens < self._capacity:
            returned = 1 if failure is None else _cost(failure)
            self._tokens = min(self._capacity, self._tokens + returned)

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens}/{self._capacity}>"


def _cost(failure: Failure) -> int:
    return THROTTLING_COST if failure.throttled else TRANSIENT_COST


def phase_of_status(status: int) -> Phase | None:
    """Return the phase in which an answer with *status* failed, or None if it is final.

    A final answer is a success, a redirect or a mistake in the request: repeating it would bring
    the same answer.
    """
    if status == 429:
        return "refused"
    # 460 and 499 are a load balancer's, which lost the client; the API may have gone on.
    if status in (408, 409, 460, 499) or 500 <= status <= 599:
        return "ambiguous"
    return None
