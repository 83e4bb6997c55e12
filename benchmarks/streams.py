"""Streams over a socket: events a second, CPU and memory, beside others on the same bytes.

`python -m benchmarks streams` measures; the rounds take turns as those of the calls do.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks import sse_parser
from benchmarks.process import Process, python_for

OURS: Final = "replicate_async, typed events"
TEXT: Final = "replicate_async, `.text()`"
RELAY: Final = "replicate_async, `to_sse`"
BARE: Final = "aiohttp, bytes"
PUBLISHED: Final = ("replicate 1.0.7", "replicate 2.0.0b4 on aiohttp")

ONE: Final = "one stream"
MANY: Final = "1,000 streams"
PACED: Final = "one event at a time"
MEMORY: Final = "memory of one of 1,000"
MORE_MEMORY: Final = "memory of one of 5,000"


@dataclass(frozen=True)
class Reader:
    """Something that reads streams."""

    module: str
    way: str
    environment: str | None = None
    one: int = 50_000
    """Events of the single stream: what is read in a few tenths of a second."""
    opens_slowly: bool = False
    """Whether 1,000 streams take so long to open that one round has to do, and 5,000 minutes."""


READERS: Final = {
    OURS: Reader("ours", "typed", one=200_000),
    TEXT: Reader("ours", "text", one=200_000),
    RELAY: Reader("ours", "relay", one=100_000),
    BARE: Reader("bare", "bytes", one=400_000),
    "httpx-sse on aiohttp": Reader("httpx_sse", "aiohttp", one=100_000),
    "httpx-sse on httpx": Reader("httpx_sse", "httpx"),
    PUBLISHED[0]: Reader("legacy", "stream", "1.0.7", one=20_000, opens_slowly=True),
    PUBLISHED[1]: Reader("stainless", "beta", "2.0.0b4-aiohttp"),
    "openai": Reader("stainless", "openai", "openai", one=20_000),
}

Found = dict[str, dict[str, list[float]]]
"""Figures by case, reader and round."""


def measure(rounds: int) -> Found:
    """Return the events a second, microseconds of CPU and bytes."""
    found: Found = {}

    def note(case: str, title: str, figure: float) -> None:
        found.setdefault(case, {}).setdefault(title, []).append(figure)

    with ExitStack() as stack:
        server = Process(stack, sys.executable, "-m", "benchmarks.stream_server")
        port = server.read()

        def start(reader: Reader) -> Process:
            module = ["-m", "benchmarks.stream_worker", reader.module, reader.way, port]
            process = Process(stack, python_for(reader.environment), *module)
            # One after the other, since to let streams go is to let all of them go.
            process.read()
            return process

        workers = {title: start(reader) for title, reader in READERS.items()}
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            _parse(note)
            for title, worker in workers.items():
                note(ONE, title, worker.ask(f"read 1 {READERS[title].one} 64 0")[0])
            for title, worker in workers.items():
                note(PACED, title, worker.ask("read 100 20 1 50")[1])
            for title, reader in READERS.items():
                if turn and reader.opens_slowly:
                    continue
                crowd = start(reader)
                size, speed, _ = crowd.ask("hold 1000 256 64 0")
                crowd.stop()
                note(MANY, title, speed)
                note(MEMORY, title, size)
        for title, reader in READERS.items():
            if not reader.opens_slowly:
                crowd = start(reader)
                note(MORE_MEMORY, title, crowd.ask("hold 5000 0 1 0")[0])
                crowd.stop()
    return found


def _parse(note: Callable[[str, str, float], None]) -> None:
    for shape, tokens in sse_parser.SHAPES.items():
        for per_chunk in (1, 8, 64):
            chunks = sse_parser.chunks_of(tokens, per_chunk)
            case = f"{shape}, {per_chunk} a chunk"
            # The first pass of each is for the caches.
            for _ in range(2):
                ours = sse_parser.nanoseconds(sse_parser.ours, chunks)
                theirs = sse_parser.nanoseconds(sse_parser.theirs, chunks)
            note(case, OURS, ours)
            note(case, "httpx-sse", theirs)


def tables(found: Found) -> str:
    """Return the figures as Markdown."""
    return f"{_readers(found)}\n\n{_parsers(found)}\n\n{_goals(found)}"


def _readers(found: Found) -> str:
    cases = {
        ONE: "events/s, one stream",
        MANY: "events/s, 1,000 streams",
        PACED: "CPU of an event that comes alone",
        MEMORY: "memory, 1,000 open",
        MORE_MEMORY: "memory, 5,000 open",
    }
    lines = [f"| | {' | '.join(cases.values())} |", f"|---|{'---:|' * len(cases)}"]
    for title in READERS:
        cells: list[str] = []
        for case in cases:
            figures = found[case].get(title)
            if not figures:
                cells.append("not measured")
                continue
            figure = statistics.median(figures)
            if case in {ONE, MANY}:
                said, times = f"{figure:,.0f}", ratio(found, case, OURS, title)
            else:
                said = f"{figure:,.0f} µs" if case == PACED else f"{figure / 1000:,.1f} kB"
                times = ratio(found, case, title, OURS)
            cells.append(said if title == OURS else f"{said} ({times:.2f} x)")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _parsers(found: Found) -> str:
    lines = ["| parser alone | replicate_async | httpx-sse |", "|---|---:|---:|"]
    for case, figures in found.items():
        if "httpx-sse" in figures:
            ours, theirs = (statistics.median(figures[title]) for title in (OURS, "httpx-sse"))
            times = ratio(found, case, "httpx-sse", OURS)
            lines.append(f"| {case} | {ours:,.0f} ns | {theirs:,.0f} ns ({times:.2f} x) |")
    return "\n".join(lines)


def _goals(found: Found) -> str:
    def over_published(case: str) -> str:
        return f"{min(ratio(found, case, TEXT, title) for title in PUBLISHED):.1f} x"

    def typed_over_published(case: str) -> str:
        return f"{min(ratio(found, case, OURS, title) for title in PUBLISHED):.1f} x"

    def parser(per_chunk: int) -> str:
        return f"{ratio(found, f'tokens, {per_chunk} a chunk', 'httpx-sse', OURS):.2f} x"

    bare = [f"{ratio(found, PACED, title, BARE):.2f} x" for title in (OURS, TEXT)]
    memory = statistics.median(found[MORE_MEMORY][OURS]) / 1000
    rows = [
        ("parser over httpx-sse, an event a chunk", "2 x or more", parser(1)),
        ("parser over httpx-sse, 64 events a chunk", "3.5 x or more", parser(64)),
    ]
    for case in (ONE, MANY):
        measured = f"{typed_over_published(case)} typed, {over_published(case)} `.text()`"
        rows.append((f"{case}, over the best published client", "4 x or more", measured))
    rows += [
        (
            "CPU of an event that comes alone, over bare aiohttp",
            "1.3 x or less",
            f"{bare[0]} typed, {bare[1]} `.text()`",
        ),
        ("memory of a stream when 5,000 are open", "20 kB or less", f"{memory:.1f} kB"),
        (
            "`to_sse`, one stream",
            "150,000 events/s or more",
            f"{statistics.median(found[ONE][RELAY]):,.0f}",
        ),
    ]
    lines = [f"| {goal} | {wanted} | {measured} |" for goal, wanted, measured in rows]
    return "\n".join(["| goal | | measured |", "|---|---|---|", *lines])


def ratio(found: Mapping[str, Mapping[str, Sequence[float]]], case: str, a: str, b: str) -> float:
    """Return how many times *b* is in *a*: of the same round, the median of the rounds."""
    # One that is measured in a single round is compared within that.
    return statistics.median(x / y for x, y in zip(found[case][a], found[case][b], strict=False))
