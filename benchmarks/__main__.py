"""Measure the client beside others with pyperf, and print a table.

    python -m benchmarks [CASE ...] [--rounds N] [--quick] [--write]

The clients take turns, in rounds, so that other work on the machine slows all of them. `--write`
keeps the figures in `benchmarks/results`, one file a release, and the table in the README.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.cases import CASES
from benchmarks.environments import ALLOCATOR, ROOT, cores, python_for
from replicate_async import __version__

FOLDER: Final = ROOT / "benchmarks"
START, END = "<!-- table: start -->", "<!-- table: end -->"
TIMEOUT: Final = 60
"""Seconds that a case of a client may take; a client that is slower has no figure."""
KEPT: Final = ("name", "unit", "loops", "inner_loops", "date", "duration")
"""What is kept of pyperf's metadata; the rest describes the machine's files and users."""
IMPORTING: Final = "starting a process that imports it (time, not CPU)"


class Peer(NamedTuple):
    """A column of the table."""

    module: str
    environment: str | None
    statement: str
    """What a program imports and makes before its first call."""
    uvloop: bool = False


PEERS: Final = {
    "replicate_async": Peer("ours", None, "import replicate_async; replicate_async.Replicate('x')"),
    "with uvloop": Peer("ours", None, "", uvloop=True),
    "aiohttp, msgspec": Peer("bare", "bare", "import aiohttp, msgspec"),
    "replicate 1.0.7": Peer("legacy", "1.0.7", "import replicate; replicate.Client('x')"),
    "replicate 2.0.0b4": Peer(
        "beta", "2.0.0b4", "import replicate; replicate.AsyncReplicate(bearer_token='x')"
    ),
    "2.0.0b4 on aiohttp": Peer("beta", "2.0.0b4-aiohttp", ""),
}


@contextmanager
def load_server() -> Generator[str]:
    """Run the load server on its own core; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.server"]
    environ, pipe = os.environ | ALLOCATOR, subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdin=pipe, stdout=pipe) as server:
        os.sched_setaffinity(server.pid, {cores()[0]})
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def measure(name: str, case: str, url: str, output: Path, *, quick: bool) -> bool:
    """Add a round of a case to *output*; return whether the client was fast enough."""
    peer, row = PEERS[name], CASES.get(case)
    command = [python_for(peer.environment), "-m"]
    if row is None and not peer.statement:
        return True
    if row is None:
        statement = [command[0], "-c", peer.statement]
        command += ["pyperf", "command", f"--name={IMPORTING}, {name}", "--values=3", "--warmups=1"]
    else:
        statement = []
        command += ["benchmarks.worker", "--client", name, "--module", peer.module, "--case", case]
        command += ["--url", url, *["--uvloop"] * peer.uvloop, *["--quick"] * quick]
        command += [f"--values={row.values}", f"--warmups={int(row.values > 1)}"]
    command += ["--processes=1", "--loops=1", f"--append={output}", f"--affinity={cores()[1]}"]
    command += [f"--timeout={TIMEOUT}", "--copy-env", "--quiet", *statement]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | ALLOCATOR, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"{name}, {case}: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return done.returncode == 0


def take(cases: Sequence[str], output: Path, rounds: int, *, quick: bool) -> None:
    """Measure the cases, another client first in each round."""
    names = list(PEERS)
    failed: set[tuple[str, str]] = set()
    with load_server() as url:
        for turn, case in product(range(rounds), cases):
            print(f"round {turn + 1} of {rounds}: {case}", file=sys.stderr)
            for name in (*names[turn:], *names[:turn]):
                each = name, case
                if each not in failed and not measure(*each, url, output, quick=quick):
                    failed.add(each)


def table(results: Path) -> str:
    """Return the medians, with how many times those of this client they are."""
    pyperf: Any = import_module("pyperf")
    suite = pyperf.BenchmarkSuite.load(str(results))
    found = {bench.get_name(): bench for bench in suite}
    lines = [f"| CPU of | {' | '.join(PEERS)} | spread |", f"|---|{'---:|' * (len(PEERS) + 1)}"]
    first = next(iter(PEERS))
    for title in [*(case.title for case in CASES.values()), IMPORTING]:
        row = [found.get(f"{title}, {name}") for name in PEERS]
        if not any(row):
            continue
        cells = [bench.format_value(bench.median()) if bench else "" for bench in row]
        if ours := found.get(f"{title}, {first}"):
            for at, bench in enumerate(row):
                if bench and at:
                    cells[at] += f" ({bench.median() / ours.median():.2g} x)"
        spread = max(bench.median_abs_dev() / bench.median() for bench in row if bench)
        lines.append(f"| {title} | {' | '.join(cells)} | ± {spread:.0%} |")
    return "\n".join(lines)


def described(rounds: int, load: float) -> str:
    """Return what was measured on, and with."""
    names = ("aiohttp", "msgspec", "uvloop")
    used = ", ".join(f"{name} {version(name)}" for name in names)
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = cpuinfo.partition("model name")[2].partition(":")[2].partition("\n")[0].strip()
    busy = " Other work took most of the machine: only large ratios mean anything." * (load > 2)
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()}; Python "
        f"{platform.python_version()}, {used}; {datetime.now(UTC):%Y-%m-%d}; medians of {rounds} "
        f"rounds; load average before: {load:.1f}.{busy}"
    )


def keep(measured: Path, text: str) -> None:
    """Write the results of the release, without what identifies the machine, and the README."""
    data = json.loads(measured.read_text(encoding="utf-8"))
    benches = data["benchmarks"]
    for part in (data, *benches, *(run for bench in benches for run in bench["runs"])):
        known = part.get("metadata", {})
        part["metadata"] = {name: known[name] for name in KEPT if name in known}
    kept = FOLDER / "results" / f"{__version__}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(data) + "\n", encoding="utf-8")
    readme = FOLDER / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure, and print or keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    cases = [*CASES, "import"]
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(cases)}; else all")
    parser.add_argument("--rounds", type=int, default=0, help="3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    parser.add_argument("--write", action="store_true", help="keep the results and the table")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(cases):
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    rounds = options.rounds or (1 if options.quick else 3)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "results.json"
        take(options.cases or cases, output, rounds, quick=options.quick)
        text = f"{table(output)}\n\n{described(rounds, load)}"
        print(text)
        if options.write:
            keep(output, text)


if __name__ == "__main__":
    main()
