"""Processes and environments that the parts of a benchmark run in."""

from __future__ import annotations

import subprocess
import sys
import venv
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parent.parent

ENVIRONMENTS: Final = {
    "1.0.7": "replicate==1.0.7",
    "2.0.0b4": "replicate==2.0.0b4",
    "2.0.0b4-aiohttp": "replicate[aiohttp]==2.0.0b4",
    "openai": "openai==3.54.0",
}
"""What is installed into environments of their own, under `.nox`."""


def python_for(environment: str | None) -> str:
    """Return the interpreter of that environment, made if need be; of this process for None."""
    if environment is None:
        return sys.executable
    home = ROOT / ".nox" / f"bench-{environment}"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        install = ["-m", "pip", "install", "-q", ENVIRONMENTS[environment]]
        subprocess.run([str(python), *install], check=True)
    return str(python)


class Process:
    """A process that answers a line with a line."""

    def __init__(self, stack: ExitStack, *command: str) -> None:
        self._name = " ".join(command[1:])
        self._process = stack.enter_context(
            subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )

    def read(self) -> str:
        """Return the next line."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"{self._name} ended without an answer")
        return line.strip()

    def ask(self, line: str) -> list[float]:
        """Send a line and return the numbers that it is answered with."""
        stdin = _pipe(self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()
        return [float(word) for word in self.read().split()]

    def stop(self) -> None:
        """Let the process end, by ending its input."""
        _pipe(self._process.stdin).close()
        self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
