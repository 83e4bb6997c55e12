"""Measure the client against others, and write the table into `benchmarks/README.md`.

    python -m benchmarks [calls | streams] [--rounds N] [--only PART] [--write]

Every client has a process of its own, the peers in virtual environments made for them under
`.nox`; the load server is yet another process. The rounds take turns, so that what else happens on
the machine happens to all, and each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks import streams
from benchmarks.process import ROOT, Process, python_for

README: Final = ROOT / "benchmarks" / "README.md"

BARE: Final = "aiohttp + msgspec"
OURS: Final = "replicate_async"
CLIENTS: Final = {
    OURS: ("ours", None),
    BARE: ("bare", None),
    "replicate 1.0.7": ("legacy", "1.0.7"),
    "replicate 2.0.0b4": ("beta", "2.0.0b4"),
}
IMPORTS: Final = {
    OURS: "import replicate_async",
    f"{OURS}, and a client": "import replicate_async; replicate_async.Replicate('r8_x')",
    BARE: "import aiohttp, msgspec",
    "replicate 1.0.7": "import replicate",
    "replicate 2.0.0b4": "import replicate; replicate.AsyncReplicate(bearer_token='r8_x').models",
}

Costs = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Case:
    """Something that is measured."""

    title: str
    operation: str
    in_flight: int
    calls: int
    slow_calls: int
    """For the peers, which need longer for each."""


CASES: Final = (
    Case("`predictions.get`, 1 in flight", "get", 1, 1500, 300),
    Case("`predictions.get`, 16 in flight", "get", 16, 4000, 480),
    Case("`predictions.get`, 256 in flight", "get", 256, 5120, 512),
    Case("create, then poll 3 times, 16 in flight", "cycle", 16, 960, 96),
    Case("a page of 100, 1 in flight", "page", 1, 300, 20),
)


def measure_calls(rounds: int, cases: Sequence[Case]) -> Mapping[str, Costs]:
    """Return the microseconds of CPU by case, client and round."""
    with ExitStack() as stack:
        server = Process(stack, sys.executable, "-m", "benchmarks.server")
        url = f"http://127.0.0.1:{server.read()}/v1"
        workers = {
            title: Process(stack, python_for(release), "-m", "benchmarks.worker", module, url)
            for title, (module, release) in CLIENTS.items()
        }
        found: dict[str, dict[str, list[float]]] = {}
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            for case in cases:
                for title, worker in workers.items():
                    calls = case.slow_calls if CLIENTS[title][1] else case.calls
                    [cost] = worker.ask(f"{case.operation} {case.in_flight} {calls}")
                    found.setdefault(case.title, {}).setdefault(title, []).append(cost)
    return found


def measure_imports(rounds: int) -> Costs:
    """Return the microseconds of CPU that imports take by round, without Python's own start."""
    statements = {"": ("pass", sys.executable)} | {
        title: (code, python_for(CLIENTS[title][1] if title in CLIENTS else None))
        for title, code in IMPORTS.items()
    }
    found: dict[str, list[float]] = {title: [] for title in statements}
    for _ in range(rounds + 1):
        for title, (code, python) in statements.items():
            found[title].append(_cpu_of([python, "-c", code]))
    start = statistics.median(found.pop("")[1:])
    # The first round may have compiled.
    return {title: [cost - start for cost in costs[1:]] for title, costs in found.items()}


def _cpu_of(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e6


def table(calls: Mapping[str, Costs], imports: Costs) -> str:
    """Return the figures as Markdown; ratios are to this package."""
    titles = list(CLIENTS)
    lines = [
        f"| CPU for each | {' | '.join(titles)} |",
        f"|---|{'---:|' * len(titles)}",
    ]
    for case, by_client in calls.items():
        lines.append(_row(case, [by_client[title] for title in titles]))
    lines.append(_row("import", [imports[title] for title in titles]))
    both = _cost(statistics.median(imports[f"{OURS}, and a client"]))
    lines.append(f"| import, and make a client | {both} | | | |")
    return "\n".join(lines)


def _row(title: str, costs: Sequence[Sequence[float]]) -> str:
    cells = [_cost(statistics.median(costs[0]))]
    for other in costs[1:]:
        # Of the same round, so that what disturbed both does not show.
        ratio = statistics.median(b / a for a, b in zip(costs[0], other, strict=True))
        cells.append(f"{_cost(statistics.median(other))} ({_ratio(ratio)})")
    return f"| {title} | {' | '.join(cells)} |"


def _cost(microseconds: float) -> str:
    return f"{microseconds / 1000:,.0f} ms" if microseconds >= 20_000 else f"{microseconds:,.0f} µs"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f} x" if ratio < 2 else f"{ratio:.1f} x"


def machine() -> str:
    """Return what was measured on, and with."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        models = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return (
        f"{os.cpu_count()} cores of {name}, {platform.system()}, Python "
        f"{platform.python_version()}, aiohttp {version('aiohttp')}, msgspec {version('msgspec')}; "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def put(part: str, text: str) -> None:
    """Put *text* into the README, where *part* belongs."""
    start, end = f"<!-- {part}: start -->", f"<!-- {part}: end -->"
    before, _, rest = README.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    README.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help='"calls" or "streams"; both when left out')
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases of calls whose title contains this")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    options = parser.parse_args()
    tables: dict[str, str] = {}
    if "calls" in options.parts or not options.parts:
        cases = [case for case in CASES if options.only in case.title]
        calls = measure_calls(options.rounds, cases)
        tables["table"] = table(calls, measure_imports(options.rounds))
    if "streams" in options.parts or not options.parts:
        tables["streams"] = streams.tables(streams.measure(options.rounds))
    for part, text in tables.items():
        said = f"{text}\n\n{machine()}; medians of {options.rounds} rounds."
        print(said)
        if options.write:
            put(part, said)


if __name__ == "__main__":
    main()
