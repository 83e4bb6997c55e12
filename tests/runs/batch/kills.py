"""Killing a batch at counted events of its server, again and again, until it comes to its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import unicodedata
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

from tests.runs.batch.api import SOON, BatchAPI
from tests.support.replies import problem
from tests.support.unmeasured import unmeasured
from tests.support.wire import Answer

PROGRAM: Final = Path(__file__).parent / "program.py"
EVENTS: Final = ("received", "acted", "answered")


@dataclass
class Outcome:
    """What the runs together came to."""

    kills: int = 0
    runs: int = 0
    seconds: float = 0.0
    results: dict[int, Any] = field(default_factory=dict[int, Any])
    uncertain: set[int] = field(default_factory=set[int])
    failed: list[str] = field(default_factory=list[str])


class Killer:
    """Kills the program that runs at every *every*-th create, at another event each time."""

    def __init__(self, kills: int, every: int) -> None:
        self._left = kills
        self._every = every
        self._next = every
        self.kills = 0
        self.target: Process | None = None

    def __call__(self, event: str, number: int) -> None:
        if number < self._next or self._left == 0 or event != EVENTS[self.kills % 3]:
            return
        target = self.target
        if target is not None and target.returncode is None:
            self._next = number + self._every
            self._left -= 1
            self.kills += 1
            self.target = None
            if event == "answered":
                asyncio.get_running_loop().call_later(0.002, _kill, target)
            else:
                _kill(target)


def _kill(target: Process) -> None:
    if target.returncode is None:
        os.kill(target.pid, signal.SIGKILL)


def faults(number: int) -> Answer | None:
    """Refuse 2 % of the creates, half of them in a way that leaves open what happened."""
    if number % 100 == 33:
        return problem(429, "Request was throttled.", retry_after="0.01")
    if number % 100 == 66:
        return problem(503)
    return None


def loses(number: int) -> bool:
    """Lose 1 % of the answers."""
    return number % 100 == 50


def altered(given: dict[str, Any]) -> dict[str, Any]:
    """Show 9 of 10 inputs otherwise than they were sent."""
    number: int = given["n"]
    prompt: str = given["prompt"]
    forms: list[dict[str, Any]] = [
        {"n": number},
        {"prompt": prompt},
        {"n": number, "prompt": prompt.strip()},
        {"n": number, "prompt": prompt.replace("\r\n", "\n")},
        {"n": number, "prompt": unicodedata.normalize("NFD", prompt)},
        {"n": number, "prompt": prompt[:10]},
        {"n": str(number), "prompt": prompt},
        {"n": number, "prompt": "[REDACTED]"},
        {"n": float(number), "prompt": prompt + "\n"},
        given,
    ]
    return forms[number % 10]


async def run_killed(
    api: BatchAPI,
    folder: Path,
    *,
    items: int,
    kills: int,
    every: int,
    concurrency: int,
    ahead: float = 0.0,
    finished: Path | None = None,
) -> Outcome:
    """Run a batch of *items* to its end, killed *kills* times on the way.

    The clock of each run is wrong by up to *ahead* seconds. With *finished*, a file, inputs are
    prepared, and finished results are written there.
    """
    rng = Random(7)
    # A list that never comes is no outage to wait for.
    outage = SOON.outage if api.listing is None else 2.0
    killer = Killer(kills, every)
    api.seen, api.refuse, api.lose = killer, faults, loses
    outcome = Outcome()
    began = monotonic()
    async with api.server() as server:
        common = (server.url, str(folder / "batch.db"), str(items), str(concurrency))

        def start() -> asyncio.Task[Process]:
            clock = str(rng.uniform(-ahead, ahead))
            more = () if finished is None else (str(finished),)
            return asyncio.create_task(_start((*common, clock, str(outage), *more)))

        spare = start()
        try:
            while True:
                process = await spare
                spare = start()
                killer.target = process
                outcome.runs += 1
                said, errors = await process.communicate(b"go\n")
                if process.returncode != -signal.SIGKILL:
                    break
            assert process.returncode == 0, errors.decode()
        finally:
            last = await spare
            last.kill()
            await last.communicate()
    found = json.loads(said)
    outcome.results = {int(index): output for index, output in found["results"]}
    outcome.uncertain, outcome.failed = set(found["uncertain"]), found["failed"]
    outcome.kills, outcome.seconds = killer.kills, monotonic() - began
    return outcome


async def _start(arguments: tuple[str, ...]) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=2**26,
        env=unmeasured(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if not await process.stdout.readline():
        raise AssertionError((await process.stderr.read()).decode())
    return process
