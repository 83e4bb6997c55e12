"""A driver to be killed: `dask_program.py SCHEDULER JOURNAL ITEMS`; prints values by index.

With a fourth argument it iterates with a blocking client, in plain code.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import distributed

from replicate_async import Limits, Replicate
from replicate_async.integrations.dask import DaskBatch, run_on_dask
from tests.integrations.dask_cluster import MODEL, collect, finish, prepare, rows

Client: Any = distributed.Client  # it has no types


def run(client: Replicate, journal: str, items: int) -> DaskBatch[str]:
    return run_on_dask(
        client, MODEL, rows(items), prepare=prepare, finish=finish, journal=journal, concurrency=20
    )


async def main(scheduler: str, journal: str, items: int) -> dict[int, object]:
    async with Client(scheduler, asynchronous=True), Replicate(limits=Limits(creates=6000)) as api:
        return await collect(run(api, journal, items))


def plain(scheduler: str, journal: str, items: int) -> dict[int, object]:
    with Client(scheduler):
        batch = run(Replicate(limits=Limits(creates=6000)), journal, items)
        return {result.index: result.value for result in batch if result.unwrap()}


if __name__ == "__main__":
    _, scheduler, journal, number, *how = sys.argv
    if how:
        values = plain(scheduler, journal, int(number))
    else:
        values = asyncio.run(main(scheduler, journal, int(number)))
    print(json.dumps(sorted(values.items())))
