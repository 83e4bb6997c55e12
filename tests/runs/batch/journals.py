"""A header, items and results for tests of the journal."""

from __future__ import annotations

from typing import Final

from replicate_async.runs.batch.journal import Entry, Journal, JournalHeader, State

HEADER: Final = JournalHeader(model="acme/painter", version="a" * 64, options="o1")
ITEMS: Final = [(index, f"key {index}", f"digest {index}") for index in range(5)]
RESULT: Final = b'{"status":"succeeded","output":"A tale","metrics":{"predict_time":1.5}}'


async def entries(journal: Journal, state: State | None = None) -> list[Entry]:
    return [entry async for entry in journal.entries(state)]


async def record(journal: Journal, key: str, step: str, *arguments: object) -> None:
    """Take the entry of *key* one step on, by the method of `Entry` of that name."""
    entry = await journal.get(key)
    assert entry is not None
    await journal.record(getattr(entry, step)(*arguments))
