"""Decides whether a failed attempt is repeated, and after how long.

The phase of the failure decides. A request that was *not sent* (no connection) or *refused* (429)
did nothing: any request may be repeated. After an *ambiguous* failure (a reset, a timeout, a 5xx)
the server may have acted: a create is never repeated, or it could happen, and be paid for, twice.

The functions are pure: the caller passes the jitter, and sleeps.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, cast

import msgspec

from replicate_async.core.backoff import backoff
from replicate_async.core.numbers import check_seconds, is_number

__all__ = ["Failure", "Phase", "Retry", "RetryBudget", "phase_of_status"]

Phase: TypeAlias = Literal["not_sent", "refused", "ambiguous"]

TRANSIENT_COST: Final = 14
THROTTLING_COST: Final = 5

# Seconds of jitter after a wait that the server names: it names the same one to all tasks.
_SPREAD: Final = 1.0


class Failure(msgspec.Struct, frozen=True):
    """How an attempt failed.

    *retry_after* is the wait in seconds that the server asked for, if it did; *throttled* is true
    after a 429.
    """

    phase: Phase
    retry_after: float | None = None
    throttled: bool = False


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How failed requests are repeated.

    The client waits a random time between zero and `min(cap, base * 2 ** (n - 1))` seconds before
    attempt n + 1.

    Args:
        attempts: The most attempts of a request, the first included; 4. 1 never repeats.
        base: Seconds of the first wait at most; 0.5.
        cap: Seconds of any wait at most, unless the server asks for more; 8.
        throttle_base: Takes the place of *base* after a 429; 1.
        max_wait: The longest wait in seconds that the server may ask for; 60. After a longer one
            the call fails at once, with the wait in ``error.retry_after``.
        budget: Tokens that all tasks of a client share; 500. A repeat costs 14 of them (5 after a
            429), a success brings some back. Without tokens nothing is repeated, so that an outage
            does not multiply the traffic.

    Raises:
        ValueError: A value is out of range.
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 8.0
    throttle_base: float = 1.0
    max_wait: float = 60.0
    budget: int = 500

    def __post_init__(self) -> None:
        attempts = cast("object", self.attempts)
        if not is_number(attempts, 1, math.inf):
            raise ValueError(
                f"Retry(attempts={attempts!r}): use 1 to send each request once, or more."
            )
        check_seconds(self, "base", "cap", "throttle_base", "max_wait")
        budget = cast("object", self.budget)
        if not is_number(budget, 0, math.inf):
            raise ValueError(f"Retry(budget={budget!r}): use 0 to never repeat, or more.")

    def delay(
        self, attempt: int, failure: Failure, *, repeatable: bool, jitter: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is to be none.

        Args:
            attempt: The number of the attempt that failed, from 1.
            failure: How it failed.
            repeatable: Whether the server may act on the request twice.
            jitter: A random number, uniform in [0, 1).
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
    """The tokens for repeats that all tasks of a client share."""

    __slots__ = ("_capacity", "_tokens")

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"RetryBudget({capacity}): use 0 to never repeat, or more.")
        self._capacity = capacity
        self._tokens = capacity

    @property
    def tokens(self) -> int:
        """Tokens left, from 0 to the capacity."""
        return self._tokens

    def spend(self, failure: Failure) -> bool:
        """Take the tokens for a repeat after *failure*; return False if there are too few."""
        cost = _cost(failure)
        if cost > self._tokens:
            return False
        self._tokens -= cost
        return True

    def refund(self, failure: Failure | None = None) -> None:
        """Give tokens back after a success, or for a repeat that was not sent after all.

        *failure* is the last one that was paid for: its cost comes back. A success of the first
        attempt has none, and brings one token.
        """
        if self._tokens < self._capacity:
            returned = 1 if failure is None else _cost(failure)
            self._tokens = min(self._capacity, self._tokens + returned)

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens}/{self._capacity}>"


def _cost(failure: Failure) -> int:
    return THROTTLING_COST if failure.throttled else TRANSIENT_COST


def phase_of_status(status: int) -> Phase | None:
    """Return the phase of a failure with *status*, or None for a final answer.

    Final are a success, a redirect and a mistake in the request: a repeat would be answered alike.
    """
    if status == 429:
        return "refused"
    # 460 and 499 are those of load balancers that lost the client; the API may have gone on.
    if status in (408, 409, 460, 499) or 500 <= status <= 599:
        return "ambiguous"
    return None
