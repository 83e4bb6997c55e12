"""Measure the client against others, and write the table into `benchmarks/README.md`.

    python -m benchmarks [--rounds N] [--only PART] [--write]

Every client has a process of its own, the two peers in virtual environments made for them under
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
import venv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "benchmarks" / "README.md"
START: Final = "<!-- table: start -->"
END: Final = "<!-- table: end -->"

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


def python_for(release: str | None) -> str:
    """Return the interpreter of an environment with that `replicate`, made if need be."""
    if release is None:
        return sys.executable
    home = ROOT / ".nox" / f"bench-{release}"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"replicate=={release}"], check=True)
    return str(python)


class Process:
    """A process that answers a line with a line."""

    def __init__(self, stack: ExitStack, *command: str) -> None:
        self._process = stack.enter_context(
            subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )

    def read(self) -> str:
        """Return the next line."""
        return _pipe(self._process.stdout).readline().strip()

    def ask(self, line: str) -> float:
        """Send a line and return the number that it is answered with."""
        stdin = _pipe(self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()
        return float(self.read())


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


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
                    cost = worker.ask(f"{case.operation} {case.in_flight} {calls}")
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


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose title contains this")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in case.title]
    calls = measure_calls(options.rounds, cases)
    imports = measure_imports(options.rounds)
    text = f"{table(calls, imports)}\n\n{machine()}; medians of {options.rounds} rounds."
    print(text)
    if options.write:
        before, _, rest = README.read_text().partition(START)
        after = rest.partition(END)[2]
        README.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
