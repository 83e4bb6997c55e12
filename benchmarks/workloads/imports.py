"""CPU and memory of importing in a fresh interpreter, less what an empty one takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from benchmarks.contestants import OURS, V1, V2
from benchmarks.goals import Goal
from benchmarks.lab import Lab, rotated
from benchmarks.process import ROOT, cpu_for, python_for
from benchmarks.results import Results
from benchmarks.tables import Column, megabytes, microseconds, table

NAME: Final = "imports"
_CASE: Final = "import"
_NAME: Final = f"from {OURS} import Replicate"
_CLIENT: Final = f"{OURS}, and a client"
_BARE: Final = "aiohttp + msgspec + anyio"

_NOTHING: Final = "nothing"
_STATEMENTS: Final = {
    _NOTHING: ("pass", None),
    OURS: ("import replicate_async", None),
    _NAME: ("from replicate_async import Replicate", None),
    _CLIENT: ("import replicate_async; replicate_async.Replicate('r8_x')", None),
    _BARE: ("import aiohttp, msgspec, anyio", "bare"),
    "httpx": ("import httpx", "httpx"),
    V1: ("import replicate", "1.0.7"),
    V2: (
        "import replicate; replicate.AsyncReplicate(bearer_token='r8_x').predictions",
        "2.0.0b4",
    ),
}
# Printed by the program itself: of a child, only what it took at its end is known.
_SAY: Final = """
import os, resource
used = resource.getrusage(resource.RUSAGE_SELF)
pages = open('/proc/self/statm').read().split()[1] if os.path.exists('/proc/self/statm') else 0
print((used.ru_utime + used.ru_stime) * 1e6, int(pages) * os.sysconf('SC_PAGE_SIZE'))
"""


def measure(lab: Lab) -> None:
    """Measure everybody."""
    for title in _STATEMENTS:
        _run(title)  # which may compile
    for turn in range(lab.rounds):
        lab.say(NAME, "fresh interpreters", turn)
        cpu, size = _run(_NOTHING)
        for title in rotated([title for title in _STATEMENTS if title != _NOTHING], turn):
            used, resident = _run(title)
            lab.note(NAME, _CASE, title, turn, {"cpu": used - cpu, "size": resident - size})


def _run(title: str) -> tuple[float, float]:
    code, environment = _STATEMENTS[title]
    core = cpu_for("client")
    pinned = "" if core is None else f"import os; os.sched_setaffinity(0, {{{core}}})\n"
    command = [python_for(environment), "-c", f"{pinned}{code}\n{_SAY}"]
    # Compiled once and kept, as installed packages are.
    keeps = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    out = subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, text=True, env=keeps
    ).stdout
    cpu, size = out.split()[-2:]
    return float(cpu), float(size)


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    columns = [
        Column("CPU", _CASE, "cpu", microseconds),
        Column("memory", _CASE, "size", megabytes),
    ]
    order = [title for title in _STATEMENTS if title != _NOTHING]
    return table(results, NAME, columns, order, corner="import")


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    return [
        Goal(
            f"import: CPU beside that of {other}",
            results.ratio(NAME, _CASE, OURS, other, "cpu"),
            most=most,
        )
        for other, most in ((_BARE, 0.4), (V1, 1 / 3), (V2, 1 / 6))
    ]
