"""Batches with a journal, run again and again."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

from replicate_async import (
    BatchResult,
)
from replicate_async.files.inputs import encode_input
from replicate_async.files.values import Record
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from replicate_async.runs.batch.journal.reader import status
from replicate_async.runs.batch.keys import KeyAssigner
from replicate_async.runs.batch.lost_creates.sent_input import canonical
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, client_of
from tests.runs.batch.journals import record

Input = dict[str, Any]


async def run(
    api: BatchAPI, given: list[Input], journal: Path, **options: Any
) -> list[BatchResult[Any]]:
    async with api.server() as server, client_of(server.url) as client:
        settings: dict[str, Any] = {
            "poll": QUICK,
            "batch_timeouts": SOON,
            "ordered": True,
            **options,
        }
        batch = client.batch(MODEL, given, journal=journal, **settings)
        return [result async for result in batch]


def sent_as(given: Record) -> bytes:
    """Return what a journal has of an input whose create is open."""
    return canonical(encode_input(given).values)


async def intents(
    journal: Path, given: list[Input], *, sent: list[Input] | None = None, ago: float = 0.5
) -> None:
    """Leave a journal as a process does that is killed between an intent and its answer.

    *sent* are the inputs as the API got them, if they are not as they were given.
    """
    namer = KeyAssigner(MODEL, None, exact=True)
    named = [(await namer.assign(each))[0] for each in given]
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await opened.plan([(each.index, each.key, each.digest) for each in named])
        for each, as_sent in zip(named, sent or given, strict=True):
            at = time() - ago
            await record(opened, each.key, "intent", at, at, sent_as(as_sent))


async def states(journal: Path) -> dict[State, int]:
    async with await Journal.open(journal, JournalHeader(model=MODEL)):  # which is closed
        return {state: count for state, count in status(journal).counts.items() if count}
