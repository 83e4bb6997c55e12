"""What was measured: every figure of every round, kept as JSON, and what is made of them."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.process import ENVIRONMENTS

FOLDER: Final = Path(__file__).parent / "results"


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one contestant did in one round of a case."""

    workload: str
    case: str
    contestant: str
    turn: int
    figures: dict[str, float]
    missing: str | None = None
    """Why there are no figures."""


class Results(msgspec.Struct, kw_only=True):
    """A run of the benchmarks."""

    taken_at: datetime
    machine: str
    versions: dict[str, str]
    rounds: int
    quick: bool
    idle: float
    """The share of a second before the run in which the machine had nothing to do."""
    samples: list[Sample] = msgspec.field(default_factory=list[Sample])

    def values(self, workload: str, case: str, contestant: str, figure: str) -> dict[int, float]:
        """Return a figure by round."""
        return {
            sample.turn: sample.figures[figure]
            for sample in self.samples
            if (sample.workload, sample.case, sample.contestant) == (workload, case, contestant)
            and figure in sample.figures
        }

    def median(self, workload: str, case: str, contestant: str, figure: str) -> float | None:
        """Return the median of the rounds; None when it was not measured."""
        values = self.values(workload, case, contestant, figure)
        return statistics.median(values.values()) if values else None

    def spread(self, workload: str, case: str, contestant: str, figure: str) -> float | None:
        """Return half the distance between the quartiles, as a share of the median."""
        values = sorted(self.values(workload, case, contestant, figure).values())
        if len(values) < 2:
            return None
        lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
        return (upper - lower) / 2 / middle if middle else None

    def ratio(self, workload: str, case: str, a: str, b: str, figure: str) -> float | None:
        """Return how many times *b* is in *a*: within a round, the median of the rounds."""
        above = self.values(workload, case, a, figure)
        below = self.values(workload, case, b, figure)
        shared = [above[turn] / below[turn] for turn in above if below.get(turn)]
        return statistics.median(shared) if shared else None

    def missing(self, workload: str, case: str, contestant: str) -> str:
        """Return why there are no figures."""
        for sample in self.samples:
            if (sample.workload, sample.case, sample.contestant) == (workload, case, contestant):
                return sample.missing or ""
        return ""

    def contestants(self, workload: str) -> Sequence[str]:
        """Return who took part, in the order in which they were measured first."""
        return list(dict.fromkeys(s.contestant for s in self.samples if s.workload == workload))

    def describe(self) -> str:
        """Return what was measured on, and with."""
        used = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        kind = "a quick run, whose figures mean little" if self.quick else "medians"
        idle = "" if self.idle > 0.9 else f" The machine was busy ({1 - self.idle:.0%}) before."
        return (
            f"{self.machine}; {used}; {self.taken_at:%Y-%m-%d}; {kind} of {self.rounds} "
            f"rounds.{idle}"
        )


def begun(rounds: int, *, quick: bool, idle: float) -> Results:
    """Return results without samples yet."""
    versions = {"Python": platform.python_version()}
    for name in ("aiohttp", "msgspec", "uvloop"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    versions["httpx"] = ENVIRONMENTS["httpx"].split("==")[1].split()[0]
    return Results(
        taken_at=datetime.now(UTC),
        machine=machine(),
        versions=versions,
        rounds=rounds,
        quick=quick,
        idle=round(idle, 3),
    )


def machine() -> str:
    """Return the cores, the processor and the system."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        models = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{os.cpu_count()} cores of {name}, {platform.system()}"


def save(results: Results) -> Path:
    """Write the results into their folder, named by their date, and return the file."""
    FOLDER.mkdir(exist_ok=True)
    name = "quick" if results.quick else f"{results.taken_at:%Y-%m-%d}"
    path = FOLDER / f"{name}.json"
    # A line for each sample, to be compared with another run's.
    text = msgspec.json.encode(results).replace(b'{"workload"', b'\n{"workload"')
    path.write_bytes(text + b"\n")
    return path


def load(path: Path) -> Results:
    """Return results that were saved."""
    return msgspec.json.decode(path.read_bytes(), type=Results)
