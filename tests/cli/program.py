"""Runs the command line as the program that it is."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from replicate_async.local import LocalReplicate

ROOT = Path(__file__).parents[2]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def environment(server: LocalReplicate | None = None) -> dict[str, str]:
    """Return the environment for a command that talks to *server*, or to nobody."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("REPLICATE_")}
    # What a command prints must reach a pipe at once because it says so, not by Python's leave.
    kept.pop("PYTHONUNBUFFERED", None)
    kept |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    if server is not None:
        kept |= {"REPLICATE_BASE_URL": server.url, "REPLICATE_API_TOKEN": server.api_token}
    return kept


async def start(
    *arguments: str,
    env: Mapping[str, str],
    program: tuple[str, ...] = ("-m", "replicate_async"),
    stdout: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    """Start the program; the caller waits for it."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *arguments,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ran:
    """Return what the program printed, once it has ended."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def run(*arguments: str, server: LocalReplicate | None = None) -> Ran:
    """Run the program; no token may ever be in what it prints, nor a traceback."""
    ran = await ended(await start(*arguments, env=environment(server)))
    assert server is None or server.api_token not in ran.out + ran.err
    assert "Traceback" not in ran.err
    return ran
