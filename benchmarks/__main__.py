"""Measure the client against others, and write what was found into `benchmarks/README.md`.

    python -m benchmarks [WORKLOAD ...] [--quick] [--rounds N] [--write]
    python -m benchmarks --from benchmarks/results/DATE.json --write

Every contestant has a process of its own, the peers in virtual environments made for them under
`.nox`; the load server is yet another process, on the other core. The rounds take turns, so that
what else happens on the machine happens to all. Figures are medians of the rounds, ratios medians
of the ratios within a round. All of them are kept as JSON in `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import results as kept
from benchmarks.goals import rows
from benchmarks.lab import Lab
from benchmarks.process import ROOT, quiet
from benchmarks.results import Results
from benchmarks.workloads import (
    Workload,
    batch,
    cycle,
    files,
    get,
    growth,
    imports,
    listing,
    streams,
    waits,
)

README: Final = ROOT / "benchmarks" / "README.md"

_MODULES: Final[Any] = (
    get,
    cycle,
    listing,
    streams,
    waits,
    batch,
    files,
    imports,
    growth,
)
WORKLOADS: Final[dict[str, Workload]] = {module.NAME: module for module in _MODULES}


def take(names: list[str], rounds: int, *, quick: bool) -> Results:
    """Measure these workloads."""
    idle = quiet()
    if idle < 0.9:
        print(f"The machine is {1 - idle:.0%} busy: only ratios will mean much.", file=sys.stderr)
    results = kept.begun(rounds, quick=quick, idle=idle)
    for name in names:
        began = time.perf_counter()
        with ExitStack() as stack:
            WORKLOADS[name].measure(Lab(results, stack))
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return results


def measured(results: Results) -> list[str]:
    """Return the workloads that there are figures of."""
    found = {sample.workload for sample in results.samples}
    grown = {batch.NAME, files.NAME, listing.NAME, waits.NAME} <= found
    return [name for name in WORKLOADS if name in found or (name == growth.NAME and grown)]


def put(part: str, text: str) -> None:
    """Put *text* into the README, where *part* belongs."""
    start, end = f"<!-- {part}: start -->", f"<!-- {part}: end -->"
    before, found, rest = README.read_text(encoding="utf-8").partition(start)
    if not found:
        raise SystemExit(f"{README} has no place for {part}: add {start} and {end}")
    after = rest.partition(end)[2]
    README.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("workloads", nargs="*", help=f"some of {', '.join(WORKLOADS)}; else all")
    parser.add_argument("--rounds", type=int, default=0, help="5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    parser.add_argument("--write", action="store_true", help="put tables and plots into the README")
    parser.add_argument("--from", dest="file", type=Path, help="show an earlier run's results")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload is called {', '.join(sorted(unknown))}")
    if options.file is not None:
        results = kept.load(options.file)
    else:
        names = options.workloads or list(WORKLOADS)
        results = take(names, options.rounds or (1 if options.quick else 5), quick=options.quick)
        print(f"kept in {kept.save(results)}", file=sys.stderr)
    names = measured(results)
    texts = {name: WORKLOADS[name].tables(results) for name in names}
    goals = [goal for name in names for goal in WORKLOADS[name].goals(results)]
    texts["goals"] = f"{rows(goals)}\n\n{results.describe()}"
    for name, text in texts.items():
        print(f"{name}\n\n{text}\n")
        if options.write:
            put(name, text)
    if options.write:
        from benchmarks import plots  # noqa: PLC0415 - matplotlib is not needed to measure

        plots.draw(results)


if __name__ == "__main__":
    main()
