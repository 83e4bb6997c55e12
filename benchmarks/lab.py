"""Where things are measured: the servers, a process for each contestant, and rounds in turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType

from benchmarks.contestants import CONTESTANTS, EVERYONE
from benchmarks.process import NoAnswerError, Process, python_for
from benchmarks.results import Results, Sample


@dataclass(frozen=True)
class Case:
    """Something that is measured of several contestants."""

    title: str
    operation: str
    """A method of `contestants.Client`."""
    in_flight: int = 1
    contestants: Sequence[str] = EVERYONE
    arguments: Sequence[object] = ()
    seconds: float = 0.5
    """How long a round lasts, for as many calls as there is time for."""
    warm: bool = True
    """Whether each call is made once before, to make connections and fill caches."""
    patience: float = 20.0
    """How long a round may take with what comes before it; who takes longer is out."""
    once: Sequence[str] = ()
    """Who is measured in one round only, because a round takes long."""


@dataclass
class Lab:
    """What the workloads share; everything ends with *stack*."""

    results: Results
    stack: ExitStack
    _server: tuple[Process, str] | None = None
    _workers: dict[str, Process] = field(default_factory=dict[str, Process])
    _out: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    @property
    def rounds(self) -> int:
        """How often everything is measured."""
        return self.results.rounds

    @property
    def quick(self) -> bool:
        """Whether it is only to be seen that things work."""
        return self.results.quick

    @property
    def server(self) -> tuple[Process, str]:
        """The load server and its base URL."""
        if self._server is None:
            process = Process(self.stack, "server", sys.executable, "-m", "benchmarks.server")
            self._server = process, f"http://127.0.0.1:{process.read()}/v1"
        return self._server

    def worker(self, title: str) -> Process:
        """Return the process of a contestant, started at the first need and kept."""
        if title not in self._workers:
            who = CONTESTANTS[title]
            loop = "uvloop" if who.uvloop else "asyncio"
            options = [who.module, loop, self.server[1], who.way]
            python = python_for(who.environment)
            self._workers[title] = Process(
                self.stack, "client", python, "-m", "benchmarks.worker", *options
            )
        return self._workers[title]

    def measure(self, workload: str, cases: Sequence[Case]) -> None:
        """Let the contestants take turns in the cases, in another order in every round."""
        for turn in range(self.rounds):
            for case in cases:
                self.say(workload, case.title, turn)
                for title in rotated(case.contestants, turn):
                    if turn == 0 or title not in case.once:
                        self._take_turn(workload, case, title, turn)

    def _take_turn(self, workload: str, case: Case, title: str, turn: int) -> None:
        if (case.title, title) in self._out:
            return
        server, _ = self.server
        question = {
            "operation": case.operation,
            "in_flight": case.in_flight,
            "arguments": list(case.arguments),
            "seconds": case.seconds / 5 if self.quick else case.seconds,
            "warm": case.warm,
        }
        served, began = server.cpu, time.perf_counter()
        try:
            figures = self.worker(title).ask(question, case.patience)
        except NoAnswerError as error:
            self._workers.pop(title).end()
            self._out.add((case.title, title))
            self.note(workload, case.title, title, turn, missing=str(error))
            return
        figures["server_busy"] = (server.cpu - served) / (time.perf_counter() - began)
        self.note(workload, case.title, title, turn, figures)

    def note(
        self,
        workload: str,
        case: str,
        contestant: str,
        turn: int,
        figures: Mapping[str, float] = MappingProxyType({}),
        missing: str | None = None,
    ) -> None:
        """Keep what was measured."""
        rounded = {name: float(f"{figure:.6g}") for name, figure in figures.items()}
        self.results.samples.append(
            Sample(
                workload=workload,
                case=case,
                contestant=contestant,
                turn=turn,
                figures=rounded,
                missing=missing,
            )
        )

    def say(self, workload: str, what: str, turn: int) -> None:
        """Tell how far it is."""
        print(f"{workload}: round {turn + 1} of {self.rounds}, {what}", file=sys.stderr)


def rotated(titles: Sequence[str], turn: int) -> list[str]:
    """Return the contestants, another first in every round."""
    start = turn * 3 % len(titles)
    return [*titles[start:], *titles[:start]]
