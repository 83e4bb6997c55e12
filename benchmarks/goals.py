"""What is to be reached, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.tables import times


@dataclass(frozen=True)
class Goal:
    """A bound on what was measured."""

    work: str
    measured: float | None
    most: float | None = None
    least: float | None = None
    say: str = ""
    """How the figure reads; a ratio unless set."""

    def row(self) -> str:
        """Return the goal as a row of a table."""
        bound = self.most if self.most is not None else self.least
        assert bound is not None
        wanted = f"at {'most' if self.most is not None else 'least'} {self._said(bound)}"
        if self.measured is None:
            return f"| {self.work} | {wanted} | not measured | |"
        met = self.measured <= bound if self.most is not None else self.measured >= bound
        said = self._said(self.measured)
        return f"| {self.work} | {wanted} | {said} | {'met' if met else '**missed**'} |"

    def _said(self, figure: float) -> str:
        return self.say.format(figure) if self.say else times(figure)


def rows(goals: Sequence[Goal]) -> str:
    """Return the goals as a table."""
    return "\n".join(["| work | goal | measured | |", "|---|---|---:|---|", *map(Goal.row, goals)])


def least(ratios: Sequence[float | None]) -> float | None:
    """Return the smallest ratio that was measured."""
    found = [ratio for ratio in ratios if ratio is not None]
    return min(found) if found else None
