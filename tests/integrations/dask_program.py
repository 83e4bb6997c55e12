"""A driver to be killed: `dask_program.py SCHEDULER FOLDER ITEMS`.

Prints a line of JSON for each result: its place, and what `seen` shows of it; before those, null,
once all is imported. With a fourth argument it iterates with a blocking client, in plain code.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import distributed

from replicate_async import BatchResult, Limits, Replicate
from replicate_async.integrations.dask import DaskBatch, run_on_dask
from tests.integrations.dask_cluster import FILES, prepare, read, rows, seen

Client: Any = distributed.Client  # it has no types


def run(client: Replicate, folder: Path, items: int) -> DaskBatch[Any]:
    return run_on_dask(
        client,
        FILES,
        rows(items),
        prepare=prepare,
        finish=read,
        journal=folder / "run.db",
        save_files=folder / "files",
        concurrency=20,
    )


def tell(result: BatchResult[Any]) -> None:
    print(json.dumps([result.index, seen(result)]), flush=True)


async def main(scheduler: str, folder: Path, items: int) -> None:
    async with Client(scheduler, asynchronous=True), Replicate(limits=Limits(creates=6000)) as api:
        async for result in run(api, folder, items):
            tell(result)


def plain(scheduler: str, folder: Path, items: int) -> None:
    with Client(scheduler):
        for result in run(Replicate(limits=Limits(creates=6000)), folder, items):
            tell(result)


if __name__ == "__main__":
    _, scheduler, folder, number, *how = sys.argv
    print("null", flush=True)
    if how:
        plain(scheduler, Path(folder), int(number))
    else:
        asyncio.run(main(scheduler, Path(folder), int(number)))
