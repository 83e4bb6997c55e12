"""Processes and environments that the parts of a benchmark run in."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Literal

ROOT: Final = Path(__file__).parent.parent

_BARE: Final = "aiohttp==3.14.5 anyio==4.16.0 httpx-sse==0.4.3 httpx==0.28.1 msgspec==0.22.0"
ENVIRONMENTS: Final = {
    "1.0.7": "replicate==1.0.7",
    "2.0.0b4": "replicate==2.0.0b4",
    "2.0.0b4-aiohttp": "replicate[aiohttp]==2.0.0b4",
    "bare": f"{_BARE} uvloop==0.23.0 httptools==0.9.0",
    "httpx": "httpx==0.28.1 msgspec==0.22.0",
    "openai": "openai==3.54.0",
}
"""What is installed into environments of their own, under `.nox`."""

ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": "16777216",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
}
"""What glibc's allocator is told in every process: to keep what was freed.

It returns it to the system else, and that for each read of a socket if the process happens to have
no room for its buffer but at the end of its memory: a fourth of what a request takes, or nothing,
by luck.
"""

Role = Literal["server", "client"]

Answer = dict[str, float]


class NoAnswerError(Exception):
    """A process that took too long, or says that it could not do what it was asked."""


def python_for(environment: str | None) -> str:
    """Return the interpreter of that environment, made if need be; of this process for None."""
    if environment is None:
        return sys.executable
    home = ROOT / ".nox" / f"bench-{environment}"
    python, made = home / "bin" / "python", home / "requirements.txt"
    wanted = ENVIRONMENTS[environment]
    if not made.exists() or made.read_text(encoding="utf-8") != wanted:
        print(f"making the environment of {wanted}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted.split()]
        subprocess.run([str(python), *install], check=True)
        made.write_text(wanted, encoding="utf-8")
    return str(python)


def cpu_for(role: Role) -> int | None:
    """Return the core that processes of that role run on; None where there are not two."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    return cores[0] if role == "server" else cores[-1]


class Process:
    """A process on the core of its *role*, that answers a line with a line."""

    def __init__(self, stack: ExitStack, role: Role, *command: str) -> None:
        self._name = " ".join(command[1:])
        self._process = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | ALLOCATOR,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(self.end)
        core = cpu_for(role)
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})

    def read(self, timeout: float = 60) -> str:
        """Return the next line; raises `NoAnswerError` when it does not come."""
        stdout = _pipe(self._process.stdout)
        if not select.select([stdout], [], [], timeout)[0]:
            self.end()
            raise NoAnswerError(f"more than {timeout:g} s")
        line = stdout.readline()
        if not line:
            raise NoAnswerError(f"{self._name} ended")
        return line.decode().strip()

    def ask(self, question: Mapping[str, object], timeout: float = 60) -> Answer:
        """Send a question and return the figures that it is answered with."""
        stdin = _pipe(self._process.stdin)
        stdin.write(json.dumps(question).encode() + b"\n")
        stdin.flush()
        answer = json.loads(self.read(timeout))
        if "error" in answer:
            raise NoAnswerError(answer["error"])
        return {name: float(figure) for name, figure in answer.items()}

    @property
    def cpu(self) -> float:
        """The seconds of CPU that its main thread has taken; 0.0 where nobody counts them."""
        counted = Path(f"/proc/{self._process.pid}/schedstat")
        if not counted.exists():
            return 0.0
        return int(counted.read_text(encoding="ascii").split()[0]) / 1e9

    def end(self) -> None:
        """End the process: its input first, then itself."""
        stdin = _pipe(self._process.stdin)
        if not stdin.closed:
            stdin.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def quiet() -> float:
    """Return the share of the last second that nothing ran on all cores; 1.0 is a quiet machine."""

    def idle() -> tuple[int, int]:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        figures = [int(figure) for figure in first]
        return figures[3] + figures[4], sum(figures)

    if not Path("/proc/stat").exists():
        return 1.0
    idle_before, all_before = idle()
    time.sleep(1)
    idle_after, all_after = idle()
    return (idle_after - idle_before) / max(1, all_after - all_before)
