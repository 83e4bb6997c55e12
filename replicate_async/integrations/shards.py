"""A part of a batch, run to its end wherever it happens to be: what every engine is given.

An engine that spreads work over machines may run a part twice, when it loses a machine. That costs
nothing twice, because each part has a journal of its own on storage that all machines see.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypedDict, Unpack

import msgspec

from replicate_async.client import Replicate
from replicate_async.core.limits import Limiter
from replicate_async.errors import JournalLockedError
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.results import BatchProgress, BatchResult, ItemInput

_LOCKED_FOR: Final = 60.0
"""Seconds that the process that ran the part before may take to be gone."""
_LOOK_AGAIN: Final = 0.5


class Connect(Protocol):
    """How a worker makes its client; `Replicate` itself, whose token is in the environment.

    It has to be importable where the workers are, such as ``functools.partial(Replicate,
    base_url=...)``. A token that is given here travels with every part.
    """

    def __call__(self, *, limiter: Limiter | None) -> Replicate:
        """Return a client that keeps the pace of *limiter*."""
        ...


class ShardOptions(TypedDict, total=False):
    """The options of ``client.batch`` that a part of a batch takes."""

    concurrency: int
    key: str
    retries: int
    save_files: str
    max_seconds: float


async def run_shard(
    ref: str,
    inputs: Sequence[ItemInput],
    *,
    journal: str | os.PathLike[str],
    connect: Connect = Replicate,
    limiter: Limiter | None = None,
    start: int = 0,
    began: Callable[[Batch[Any]], object] | None = None,
    on_progress: Callable[[BatchProgress], object] | None = None,
    **options: Unpack[ShardOptions],
) -> list[BatchResult[Any]]:
    """Run a model over some of a batch's inputs, and return their results in any order.

    Run again with the same *journal*, it goes on where it left off. *connect* makes the client,
    which keeps the pace of *limiter*; *start* is the place of the first input in the whole batch,
    *began* is called with the batch before it runs; *on_progress* and the *options* are those of
    ``client.batch``. Raises `JournalLockedError` when another process still has the journal after a
    minute, and what ``client.batch`` raises.
    """
    loop = asyncio.get_running_loop()
    patience = loop.time() + _LOCKED_FOR
    while True:
        try:
            async with connect(limiter=limiter) as client:
                batch = client.batch(
                    ref, inputs, journal=os.fspath(journal), on_progress=on_progress, **options
                )
                if began is not None:
                    began(batch)
                async with batch:
                    return [_placed(result, start) async for result in batch]
        except JournalLockedError:
            # A worker that was given up may be alive still; it is about to find that out.
            if loop.time() > patience:
                raise
            await asyncio.sleep(_LOOK_AGAIN)


def _placed(result: BatchResult[Any], start: int) -> BatchResult[Any]:
    return msgspec.structs.replace(result, index=start + result.index) if start else result
