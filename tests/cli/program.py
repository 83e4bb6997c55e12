"""Runs the command line as the program that it is, or in a fork of a process that imported it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from replicate_async.local import LocalReplicate
from tests.cli.forks import Forks

FORKS = Forks()
ROOT = Path(__file__).parents[2]
NO_CONFIG = ROOT / "no-config.toml"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def environment(server: LocalReplicate | None = None, config: Path = NO_CONFIG) -> dict[str, str]:
    """Return the environment for a command that talks to *server*, or to no server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("REPLICATE_")}
    # A command flushes its output itself; unbuffered streams would hide that it does not.
    kept.pop("PYTHONUNBUFFERED", None)
    kept |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    kept["REPLICATE_CONFIG"] = str(config)
    if server is not None:
        kept |= {"REPLICATE_BASE_URL": server.url, "REPLICATE_API_TOKEN": server.api_token}
    return kept


async def start(
    *arguments: str,
    env: Mapping[str, str],
    program: tuple[str, ...] = ("-m", "replicate_async"),
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    """Start the program; the caller waits for it."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *arguments,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


async def ended(process: asyncio.subprocess.Process) -> Ran:
    """Return what the program printed, once it has ended."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def forked(*arguments: str, env: Mapping[str, str]) -> Ran:
    """Run the program in a fork, where that is safe; on macOS it is a process of its own."""
    if sys.platform != "linux":
        return await ended(await start(*arguments, env=env))
    code, out, err = await asyncio.to_thread(FORKS.run, arguments, env)
    return Ran(code, out.decode(), err.decode())


async def run(*arguments: str, server: LocalReplicate | None = None) -> Ran:
    """Run the program in a fork; its output never has a token or a traceback."""
    ran = await forked(*arguments, env=environment(server))
    assert server is None or server.api_token not in ran.out + ran.err
    assert "Traceback" not in ran.err
    return ran


class Terminal:
    """The program on a terminal of its own, as wide as *columns*."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self.raw = b""
        """The output with its escape sequences."""

    @classmethod
    async def start(
        cls,
        *arguments: str,
        server: LocalReplicate | None = None,
        columns: int = 100,
        config: Path = NO_CONFIG,
    ) -> Terminal:
        """Start the program there."""
        terminal, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = environment(server, config) | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "CI"):
            env.pop(name, None)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "replicate_async",
                *arguments,
                env=env,
                stdin=side,
                stdout=side,
                stderr=side,
            )
        finally:
            os.close(side)
        return cls(process, terminal)

    async def until(self, text: str) -> None:
        """Read until *text* was written."""
        while text not in self.text:
            assert await self._read(), self.text

    async def ended(self) -> int:
        """Read until the program has ended, and return its exit code."""
        while await self._read():
            pass
        os.close(self._terminal)
        return await self.process.wait()

    @property
    def text(self) -> str:
        """The output without colours and moves of the cursor."""
        plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self.raw)
        return plain.decode("utf-8", "replace").replace("\r\n", "\n")

    async def _read(self) -> bool:
        try:
            data = await asyncio.to_thread(os.read, self._terminal, 64 * 1024)
        except OSError:  # the other side is closed
            return False
        self.raw += data
        return bool(data)
