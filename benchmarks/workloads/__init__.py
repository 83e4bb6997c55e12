"""What is measured: each module has a NAME, `measure`, `tables` and `goals`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchmarks.goals import Goal
from benchmarks.lab import Lab
from benchmarks.results import Results


class Workload(Protocol):
    """A module of this package."""

    NAME: str

    def measure(self, lab: Lab) -> None:
        """Measure everybody."""

    def tables(self, results: Results) -> str:
        """Return what is said of it, as Markdown."""
        ...

    def goals(self, results: Results) -> Sequence[Goal]:
        """Return what was to be reached."""
        ...
