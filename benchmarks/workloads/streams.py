"""Streams over a socket: events a second, CPU and memory, beside others on the same bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks import sse_parser
from benchmarks.goals import Goal, least
from benchmarks.lab import Lab, rotated
from benchmarks.process import NoAnswerError, Process, python_for
from benchmarks.results import Results
from benchmarks.tables import Column, count, kilobytes, microseconds, table

NAME: Final = "streams"

OURS: Final = "replicate_async, typed events"
TEXT: Final = "replicate_async, `.text()`"
RELAY: Final = "replicate_async, `to_sse`"
OURS_FAST: Final = "replicate_async, typed, uvloop"
LIMIT: Final = "asyncio protocol, bytes"
BARE: Final = "aiohttp, bytes"
BARE_FAST: Final = "aiohttp, bytes, uvloop"
HTTPX_SSE: Final = "httpx-sse"
PUBLISHED: Final = ("replicate 1.0.7", "replicate 2.0.0b4, aiohttp")

ONE: Final = "one stream"
MANY: Final = "1,000 streams"
PACED: Final = "one event at a time"
OPEN: Final = "1,000 open"
CROWD: Final = "5,000 open"


@dataclass(frozen=True)
class Reader:
    """Something that reads streams."""

    module: str
    way: str
    environment: str | None = None
    one: int = 50_000
    """Events of the single stream: what is read in a few tenths of a second."""
    uvloop: bool = False
    opens_slowly: bool = False
    """Whether 1,000 streams take so long to open that one round has to do."""


READERS: Final = {
    OURS: Reader("ours", "typed", one=200_000),
    TEXT: Reader("ours", "text", one=200_000),
    RELAY: Reader("ours", "relay", one=100_000),
    OURS_FAST: Reader("ours", "typed", one=200_000, uvloop=True),
    BARE: Reader("bare", "bytes", "bare", one=400_000),
    BARE_FAST: Reader("bare", "bytes", "bare", one=400_000, uvloop=True),
    LIMIT: Reader("limit", "bytes", "bare", one=400_000),
    "httpx-sse on aiohttp": Reader("httpx_sse", "aiohttp", "bare", one=100_000),
    "httpx-sse on httpx": Reader("httpx_sse", "httpx", "bare"),
    PUBLISHED[0]: Reader("legacy", "stream", "1.0.7", one=20_000, opens_slowly=True),
    PUBLISHED[1]: Reader("stainless", "beta", "2.0.0b4-aiohttp"),
    "openai": Reader("stainless", "openai", "openai", one=20_000, opens_slowly=True),
}

_CROWD: Final = (OURS, OURS_FAST, BARE, LIMIT, "httpx-sse on httpx", PUBLISHED[1])
_OPEN_ROUNDS: Final = 2
"""As many processes are made for each reader, since memory is told by a fresh one alone."""


def measure(lab: Lab) -> None:
    """Measure everybody."""
    server = Process(lab.stack, "server", sys.executable, "-m", "benchmarks.stream_server")
    port = server.read()
    workers = {title: _start(lab.stack, title, port) for title in READERS}
    for turn in range(lab.rounds):
        _parse(lab, turn)
        lab.say(NAME, ONE, turn)
        for title in rotated(list(READERS), turn):
            events = READERS[title].one // (10 if lab.quick else 1)
            _ask(lab, workers[title], ONE, title, turn, _question(1, events, 64, 0))
        lab.say(NAME, PACED, turn)
        for title in rotated(list(READERS), turn):
            _ask(lab, workers[title], PACED, title, turn, _question(100, 20, 1, 50))
        lab.say(NAME, MANY, turn)
        for title in rotated(list(READERS), turn):
            if turn == 0 or not READERS[title].opens_slowly:
                streams = 100 if lab.quick else 1000
                _ask(lab, workers[title], MANY, title, turn, _question(streams, 256, 64, 0))
    for worker in workers.values():
        worker.end()
    for turn in range(_OPEN_ROUNDS):
        _open(lab, port, OPEN, 100 if lab.quick else 1000, turn)
    if not lab.quick:
        _open(lab, port, CROWD, 5000, 0)


def _open(lab: Lab, port: str, case: str, streams: int, turn: int) -> None:
    lab.say(NAME, case, turn)
    for title in rotated(_CROWD if case == CROWD else list(READERS), turn):
        if turn == 0 or not READERS[title].opens_slowly:
            with ExitStack() as stack:
                worker = _start(stack, title, port)
                _ask(lab, worker, case, title, turn, _question(streams, 0, 1, 0))


def _start(stack: ExitStack, title: str, port: str) -> Process:
    reader = READERS[title]
    loop = "uvloop" if reader.uvloop else "asyncio"
    options = ["benchmarks.stream_worker", reader.module, reader.way, loop, port]
    process = Process(stack, "client", python_for(reader.environment), "-m", *options)
    # One after the other, since to let streams go is to let all of them go.
    process.read()
    return process


def _question(streams: int, events: int, segment: int, pause: int) -> Mapping[str, int]:
    return {"streams": streams, "events": events, "segment": segment, "pause": pause}


def _ask(
    lab: Lab, worker: Process, case: str, title: str, turn: int, question: Mapping[str, int]
) -> None:
    try:
        lab.note(NAME, case, title, turn, worker.ask(question, 100))
    except NoAnswerError as error:
        lab.note(NAME, case, title, turn, missing=str(error))


def _parse(lab: Lab, turn: int) -> None:
    lab.say(NAME, "the parser alone", turn)
    for shape, tokens in sse_parser.SHAPES.items():
        for per_chunk in (1, 64):
            chunks = sse_parser.chunks_of(tokens, per_chunk)
            case = f"{shape}, {per_chunk} a chunk"
            # The first pass of each is for the caches.
            for _ in range(2):
                ours = sse_parser.nanoseconds(sse_parser.ours, chunks)
                theirs = sse_parser.nanoseconds(sse_parser.theirs, chunks)
            lab.note(NAME, case, OURS, turn, {"parse": ours})
            lab.note(NAME, case, HTTPX_SSE, turn, {"parse": theirs})


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    readers = table(
        results,
        NAME,
        [
            Column("events/s, one stream", ONE, "speed", count, OURS),
            Column("events/s, 1,000 streams", MANY, "speed", count, OURS),
            Column("CPU of an event that comes alone", PACED, "cpu", microseconds, OURS),
            Column("memory, 1,000 open", OPEN, "size", kilobytes, OURS),
            Column("memory, 5,000 open", CROWD, "size", kilobytes, OURS),
        ],
        list(READERS),
    )
    parsers = [
        Column(case, case, "parse", lambda figure: f"{figure:,.0f} ns", OURS)
        for case in dict.fromkeys(
            sample.case for sample in results.samples if sample.contestant == HTTPX_SSE
        )
    ]
    return f"{readers}\n\n{table(results, NAME, parsers, [OURS, HTTPX_SSE], 'parser alone')}"


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    found = [
        Goal(
            f"parser over httpx-sse, {per_chunk} events a chunk",
            results.ratio(NAME, f"tokens, {per_chunk} a chunk", HTTPX_SSE, OURS, "parse"),
            least=bound,
        )
        for per_chunk, bound in ((1, 2.0), (64, 3.5))
    ]
    for case in (ONE, MANY):
        for title, way in ((OURS, "typed"), (TEXT, "`.text()`")):
            over = [results.ratio(NAME, case, title, peer, "speed") for peer in PUBLISHED]
            work = f"{case}, {way}: events/s over the best published client"
            found.append(Goal(work, least(over), least=4))
    found += [
        Goal(
            f"an event that comes alone, {way}: CPU beside aiohttp reading bytes",
            results.ratio(NAME, PACED, title, BARE, "cpu"),
            most=1.3,
        )
        for title, way in ((OURS, "typed"), (TEXT, "`.text()`"))
    ]
    memory = results.median(NAME, CROWD, OURS, "size")
    beside = least([results.ratio(NAME, CROWD, peer, OURS, "size") for peer in PUBLISHED])
    relay = results.median(NAME, ONE, RELAY, "speed")
    return [
        *found,
        Goal("memory of a stream, 5,000 open", memory and memory / 1000, 20, say="{:.1f} kB"),
        Goal("memory of a stream of the best published client beside ours", beside, least=2),
        Goal("`to_sse`, one stream", relay, least=150_000, say="{:,.0f} events/s"),
    ]
