"""`predictions.get` of 1.2 kB, by how many are in flight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.contestants import (
    AIOHTTP,
    EVERYONE,
    HTTPX,
    LIMIT_FAST,
    OURS,
    OURS_TUNED,
    PUBLISHED,
    V1,
    V2,
    V2_AIOHTTP,
)
from benchmarks.goals import Goal, least
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, count, microseconds, milliseconds, table

NAME: Final = "get"
_ID: Final = "gm3qorzdhgbfurvjtvhg6dckhu"

# Where each call looks through all connections, a thousand take minutes to open.
_SLOW: Final = (HTTPX, V1, V2)

CASES: Final = {
    in_flight: Case(
        title=f"{in_flight:,} in flight",
        operation="get",
        in_flight=in_flight,
        arguments=(_ID,),
        contestants=EVERYONE,
        seconds=0.5 if in_flight < 1000 else 0.6,
        patience=8.0,
        once=_SLOW if in_flight > 16 else (),
    )
    for in_flight in (1, 16, 256, 1000)
}


def measure(lab: Lab) -> None:
    """Measure everybody."""
    lab.measure(NAME, list(CASES.values()))


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    cases = list(CASES.values())
    cpu = [Column(case.title, case.title, "cpu", microseconds) for case in cases]
    rate = [Column(case.title, case.title, "rate", count, beside=None) for case in cases]
    late = [
        Column(f"{name}, {case.title}", case.title, name, milliseconds, beside=None)
        for case in cases[1:]
        for name in ("p50", "p99")
    ]
    return "\n\n".join(
        [
            table(results, NAME, cpu, corner="CPU a request"),
            table(results, NAME, rate, corner="requests/s"),
            table(results, NAME, late, corner="latency"),
            _proof(results),
        ]
    )


def _proof(results: Results) -> str:
    """Say that the server was not what was measured."""
    case = CASES[256].title
    limit = results.median(NAME, case, LIMIT_FAST, "rate")
    if limit is None:
        return ""
    rates = {
        title: rate
        for title in results.contestants(NAME)
        if title.startswith((OURS, "replicate "))
        and (rate := results.median(NAME, case, title, "rate"))
    }
    fastest = max(rates, key=lambda title: rates[title])
    busiest = max(
        results.median(NAME, case.title, title, "server_busy") or 0.0
        for case in CASES.values()
        for title in rates
    )
    return (
        f"The server is not the bottleneck: with 256 in flight it answered {LIMIT_FAST} "
        f"{limit:,.0f} times a second, {limit / rates[fastest]:.1f} times what the fastest SDK "
        f"({fastest}) asked, and while SDKs were measured its core was busy {busiest:.0%} of the "
        "time at most."
    )


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    found: list[Goal] = []
    for in_flight in (16, 256):
        case = CASES[in_flight].title
        work = f"`predictions.get`, {case}: CPU"
        over_bare = results.ratio(NAME, case, OURS, AIOHTTP, "cpu")
        over_beta = results.ratio(NAME, case, V2_AIOHTTP, OURS, "cpu")
        over_legacy = results.ratio(NAME, case, V1, OURS, "cpu")
        found += [
            Goal(f"{work} beside aiohttp + msgspec", over_bare, most=1.10),
            Goal(f"{work} of {V2_AIOHTTP} beside ours", over_beta, least=6),
            Goal(f"{work} of {V1} beside ours", over_legacy, least=15),
            Goal(
                f"{work} of the best published client beside ours",
                least([results.ratio(NAME, case, title, OURS, "cpu") for title in PUBLISHED]),
                least=6,
            ),
        ]
    found += [
        Goal(f"CPU a request, 1,000 in flight beside 16{how}", _growth(results, title), most=1.3)
        for title, how in ((OURS, ""), (OURS_TUNED, ", uvloop and gc tuned"))
    ]
    return found


def _growth(results: Results, title: str) -> float | None:
    few, many = (
        results.values(NAME, CASES[in_flight].title, title, "cpu") for in_flight in (16, 1000)
    )
    growth = sorted(many[turn] / few[turn] for turn in few if turn in many)
    return growth[len(growth) // 2] if growth else None
