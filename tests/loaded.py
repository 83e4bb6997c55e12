"""Run pytest beside four busy loops: `python -m tests.loaded [pytest arguments]`.

No test may depend on how fast the machine is. Without arguments these are the tests that touch
sockets, threads, processes or clocks, one round of those that are not slow.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
LOOPS: Final = 4
FOLDERS: Final = (
    "cli",
    "core/test_tasks.py",
    "faults",
    "files",
    "integrations",
    "local",
    "resources",
    "runs",
    "support_tests",
    "web",
    "test_sync.py",
    "test_webhooks.py",
)


@contextmanager
def busy_loops(count: int) -> Generator[None]:
    """Keep *count* processes computing."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def main(arguments: list[str]) -> int:
    """Run pytest with *arguments* and return its exit code."""
    chosen = arguments or [f"tests/{folder}" for folder in FOLDERS]
    with busy_loops(LOOPS):
        command = [sys.executable, "-m", "pytest", *chosen]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
