"""What a million predictions a day cost, and what breaks first: the numbers of docs/howto/scale.md.

    python -m benchmarks.scale [--short] [--write]

Waits are simulated in virtual time: the client's own tracker against an API whose runs begin evenly
over the day. The costs of the driver, the journal, files and Redis are measured on this machine,
against the embedded server in another process. The rest is arithmetic.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import msgspec

from benchmarks.environments import ROOT
from replicate_async import Limits, Poll, Prediction, Replicate
from replicate_async.core.limits import BucketName
from replicate_async.local import LocalReplicate, OutputFile, RateLimits, Settings
from replicate_async.runs.batch.journal import Journal, JournalHeader
from tests.runs.world import World
from tests.support.redis_server import PROGRAM as REDIS
from tests.support.redis_server import RedisServer
from tests.support.virtual_time import run_virtually

PAGE: Final = ROOT / "docs" / "howto" / "scale.md"
START, END = "<!-- scale: start -->", "<!-- scale: end -->"
DAY: Final = 86_400.0
A_DAY: Final = 1_000_000
A_SECOND: Final = A_DAY / DAY
MACHINES: Final = 50
CREATES, GETS, OTHERS = 600.0, 60_000.0, 3_000.0
"""Requests a minute that an account may send unless it has agreed on more."""
FILE: Final = 1_500_000
"""Bytes of an output file."""
TEXT: Final = "It was a bright cold day in April, and the clocks were striking thirteen. " * 8
BACKSTOP: Final = Poll(first=30, starting=60, processing=60)
WEBHOOK: Final = 0.5
"""Seconds after the end of a run until its webhook is there."""
CHANGES: Final = 4
"""Changes of an item in the journal: intent, created, done, finished."""


@dataclass(frozen=True)
class Size:
    """How long the simulation and the measurements are."""

    lengths: tuple[float, ...] = (5.0, 60.0, 180.0)
    """Seconds that a run takes."""
    minutes: float = 1
    items: int = 2_000
    paced: int = 240
    """Items that are created at the pace of a million a day."""
    files: int = 100
    changes: int = 1_000
    permits: int = 2_000


SHORT: Final = Size(lengths=(5.0,), minutes=1, items=60, paced=6, files=5, changes=64, permits=100)


@dataclass(frozen=True)
class Waits:
    """What waiting costs: requests for each run, and the mean delay until an end is known."""

    seconds: float
    running: float
    gets: float
    pages: float
    delay: float


@dataclass(frozen=True)
class Costs:
    """What was measured on this machine; seconds, bytes."""

    cpu: float
    """Of the driver, for an item of a batch without limits."""
    paced_cpu: float
    """Of the driver, for an item at the pace of a million a day: less is done together."""
    replay: float
    """Of the driver, for an item that is done already when a batch is resumed."""
    journal: float
    """Bytes, for an item."""
    memory: int
    file_cpu: float
    """To download and save a file."""
    commit: float
    """A commit of one change."""
    change: float
    """A change, of 64 that are made at a time."""
    permit: float | None
    """Of Redis, for a permit; None without a server."""


def simulate(seconds: float, minutes: float, webhooks: bool = False) -> Waits:  # noqa: FBT001, FBT002 - for `map`
    """Wait in virtual time for runs of that many *seconds*, which begin all the time.

    Requests are counted for so many *minutes*, once as many runs end as begin.
    """

    async def main() -> Waits:
        world = World(pages=OTHERS / 60 / 2)
        loop = asyncio.get_running_loop()
        delays: list[float] = []

        async def run() -> None:
            made = world.api.create(seconds)
            if webhooks:
                tasks.add(group.create_task(tell(made.id, world.api.runs[made.id].ended)))
            await world.wait(made, poll=BACKSTOP if webhooks else None)
            delays.append(loop.time() - world.api.runs[made.id].ended)

        async def tell(run_id: str, ended: float) -> None:
            await asyncio.sleep(ended + WEBHOOK - loop.time())
            state = msgspec.convert(world.api.view(run_id), Prediction)
            world.tracker.notify("prediction", state)

        async def runs(number: int) -> None:
            began = loop.time()
            for each in range(number):
                await asyncio.sleep(max(0.0, began + each / A_SECOND - loop.time()))
                tasks.add(group.create_task(run()))

        tasks: set[asyncio.Future[None]] = set()
        number = int(A_SECOND * 60 * minutes)
        async with asyncio.TaskGroup() as group:
            await runs(int(A_SECOND * (1.2 * seconds + 30)))
            gets, pages, known = len(world.api.gets), len(world.api.pages), len(delays)
            await runs(number)
            gets, pages = len(world.api.gets) - gets, len(world.api.pages) - pages
            delay = fmean(delays[known:])
            for task in tasks:
                task.cancel()
        return Waits(seconds, A_SECOND * seconds, gets / number, pages / number, delay)

    return run_virtually(main())


async def serve() -> None:
    """Serve two models without rate limits until the standard input ends."""
    async with LocalReplicate(settings=Settings(rate_limits=RateLimits.off())) as server:

        @server.model("acme/text")
        async def text(prompt: str) -> str:
            await asyncio.sleep(0.2)
            return TEXT[: len(TEXT) - len(prompt) % 7]

        @server.model("acme/file")
        def file() -> OutputFile:
            return OutputFile(bytes(FILE), name="out.bin")

        print(server.url, server.api_token, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def measure(size: Size, folder: Path) -> Costs:
    """Measure a batch, files, the journal's commits and Redis."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.scale", "--serve"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    url, token = (await server.stdout.readline()).decode().split()
    async with Replicate(token, base_url=url, limits=Limits(enabled=False)) as client:
        await drive(client, 20, folder / "warm.db")
        began = time.process_time()
        await drive(client, size.items, folder / "batch.db")
        ended = time.process_time()
        await drive(client, size.items, folder / "batch.db")
        again = time.process_time()
        journal = (folder / "batch.db").stat().st_size / size.items
        paced = client.with_options(limits=Limits(creates=60 * A_SECOND, burst=1))
        paced_began = time.process_time()
        await drive(paced, size.paced, folder / "paced.db")
        paced_ended = time.process_time()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        file_cpu = await save(client, size.files, folder)
    server.stdin.close()
    await server.wait()
    return Costs(
        cpu=(ended - began) / size.items,
        paced_cpu=(paced_ended - paced_began) / size.paced,
        replay=(again - ended) / size.items,
        journal=journal,
        memory=memory,
        file_cpu=file_cpu,
        commit=await changes(size.changes, 1, folder / "one.db"),
        change=await changes(size.changes, 64, folder / "many.db"),
        permit=await permits(size.permits, folder) if REDIS else None,
    )


async def drive(client: Replicate, items: int, journal: Path) -> None:
    """Run a batch with a journal and functions that do little."""

    async def prepare(row: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": f"{TEXT} {row['n']}"}

    async def finish(_: object) -> None: ...

    batch = client.batch(
        "acme/text",
        ({"n": n} for n in range(items)),
        prepare=prepare,
        finish=finish,
        journal=journal,
    )
    async for result in batch:
        assert result.ok, result.error


async def save(client: Replicate, number: int, folder: Path) -> float:
    """Return the CPU that it takes to save an output file."""
    output = await client.run("acme/file", {})
    began = time.process_time()
    for each in range(number):
        await output.save(folder / f"{each}.bin")
    return (time.process_time() - began) / number


async def changes(number: int, together: int, path: Path) -> float:
    """Return the seconds that a change of the journal takes, of so many *together*: the median."""
    seconds: list[float] = []
    async with await Journal.open(path, JournalHeader(model="acme/text")) as journal:
        entries = await journal.plan([(n, f"k{n}", f"{n:064x}") for n in range(number)])
        for at in range(0, number, together):
            some = entries[at : at + together]
            began = time.monotonic()
            await asyncio.gather(*(journal.record(entry.intent(began)) for entry in some))
            seconds.append((time.monotonic() - began) / len(some))
    return median(seconds)


async def permits(number: int, folder: Path) -> float | None:
    """Return the seconds of Redis that a permit takes, of those that are fetched one by one."""
    from redis.asyncio import Redis  # noqa: PLC0415 - of an extra

    from replicate_async.integrations.redis import RedisLimiter  # noqa: PLC0415 - the same

    kind: BucketName = "create"
    with RedisServer(folder) as server:
        client: Any = Redis(port=server.port)
        async with RedisLimiter(client, limits=Limits(creates=6_000_000, burst=1)) as limiter:
            for _ in range(number):
                await limiter.acquire(kind)
        stats = (await client.info("commandstats"))["cmdstat_evalsha"]
        await client.aclose()
    return float(stats["usec_per_call"]) / 1e6


def most_a_day(costs: Costs, polled: list[Waits]) -> dict[str, float]:
    """Return how many predictions a day each part bears by itself, with an account's usual limits.

    Waits leave half of the limit of other calls to other calls.
    """
    return {
        "creates that an account may send": CREATES * 1440,
        "commits of the journal, one for each change": DAY / costs.commit / CHANGES,
        "commits of the journal, 64 changes together": DAY / costs.change / CHANGES,
        "1 Gbit/s for all files at one machine": 125e6 * DAY / FILE,
        f"1 Gbit/s for files at each of {MACHINES} machines": 125e6 * DAY / FILE * MACHINES,
        "one core of the driver, at full speed": DAY / costs.cpu,
        **{
            f"`predictions.get` for runs of {each.seconds:.0f} s": GETS * 1440 / each.gets
            for each in polled
        },
    }


def report(size: Size) -> str:
    """Return the tables of the page."""
    with tempfile.TemporaryDirectory() as folder:
        costs = asyncio.run(measure(size, Path(folder)))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        minutes = [size.minutes] * len(size.lengths)
        polls = pool.map(simulate, size.lengths, minutes)
        hooks = pool.map(simulate, size.lengths, minutes, [True] * len(size.lengths))
        polled, told = list(polls), list(hooks)
    return "\n\n".join([what_it_costs(costs), waiting(polled, told), limits(costs, polled)])


def table(head: str, rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, "|".join(["", *("---" for _ in head.split("|")[1:-1]), ""])]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def what_it_costs(costs: Costs) -> str:
    """Return the table of what was measured."""
    rate = A_SECOND
    redis = "not measured" if costs.permit is None else f"{costs.permit * 1e6:.0f} µs"
    bits = FILE * 8 * rate / 1e6
    share = "" if costs.permit is None else f"{costs.permit * rate:.2%} of a core"
    rows = [
        ("creates", "1", f"{rate * 60:.0f} a minute; an account may send {CREATES:.0f}"),
        (
            "CPU of the driver",
            f"{costs.paced_cpu * 1e3:.1f} ms",
            f"{costs.paced_cpu * rate:.1%} of a core",
        ),
        ("CPU of the driver, at full speed", f"{costs.cpu * 1e3:.1f} ms", ""),
        (
            "a resume, if the item is done",
            f"{costs.replay * 1e3:.2f} ms",
            f"{costs.replay * A_DAY / 60:.1f} minutes",
        ),
        ("its memory", "", f"{costs.memory / 1e6:.0f} MB, and 12 bytes a key"),
        ("journal", f"{costs.journal:,.0f} bytes", f"{costs.journal * A_DAY / 1e9:.1f} GB"),
        (
            "its commits",
            f"{CHANGES} of {costs.commit * 1e3:.2f} ms",
            f"{CHANGES * rate:.0f} a second at most, {CHANGES * rate * costs.commit:.0%} busy",
        ),
        (
            f"a file of {FILE / 1e6:.1f} MB",
            f"{costs.file_cpu * 1e3:.1f} ms of CPU",
            f"{FILE * A_DAY / 1e12:.1f} TB, {bits:.0f} Mbit/s; {bits / MACHINES:.1f} a machine",
        ),
        ("Redis, if it paces the creates", redis, share),
    ]
    return table("| what | for an item | for a million a day |", rows)


def waiting(polled: list[Waits], told: list[Waits]) -> str:
    """Return the table of the simulated waits, *told* with webhooks."""
    rows = [
        (
            f"{poll.seconds:.0f} s",
            f"{poll.running:,.0f}",
            f"{poll.gets:.2f} + {poll.pages:.2f}",
            f"{poll.gets * A_SECOND * 60:,.0f} + {poll.pages * A_SECOND * 60:,.0f}",
            f"{poll.delay:.1f} s",
            f"{hook.gets:.2f} + {hook.pages:.2f}",
            f"{hook.delay:.1f} s",
        )
        for poll, hook in zip(polled, told, strict=True)
    ]
    head = (
        "| a run takes | running at a time | requests for it: gets + pages | a minute "
        "| its end is known after | with webhooks: gets + pages | known after |"
    )
    return table(head, rows)


def limits(costs: Costs, polled: list[Waits]) -> str:
    """Return the table of what ends first."""
    most = sorted(most_a_day(costs, polled).items(), key=lambda each: each[1])
    rows = [(name, f"{number / 1e6:,.1f} million") for name, number in most]
    return table("| what ends first | at so many predictions a day |", rows)


def main(arguments: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure little")
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(serve())
        return
    tables = report(SHORT if options.short else Size())
    print(tables)
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        PAGE.write_text(f"{before}{START}\n\n{tables}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
