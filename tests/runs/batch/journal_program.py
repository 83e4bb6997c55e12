"""A program that writes a journal and prints each acknowledged change, to be killed.

    python -m tests.runs.batch.journal_program PATH ITEMS [LARGEST]

It goes on where an earlier run ended. Each line of its output is a key and the state that the
journal acknowledged; after the last it prints "end". No file may become larger than LARGEST bytes.
A journal that cannot be written ends it with status 3, and lines that say how the journal answered
then.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from replicate_async.errors import JournalError
from replicate_async.runs.batch.journal import Entry, Journal, JournalHeader, State
from replicate_async.runs.batch.journal.reader import read

HEADER: Final = JournalHeader(model="acme/painter")
ORDER: Final = (State.PLANNED, State.INTENT, State.CREATED, State.DONE)
WORKERS: Final = 8

Say = Callable[[str], object]


def result_of(key: str) -> bytes:
    """Return the result of an item; some are long enough to leave their page."""
    return b'{"status":"succeeded","output":"%s"}' % (key.encode() * (1 + int(key) % 7 * 150))


def sent_of(key: str) -> bytes:
    """Return the input of an item; some are long enough to leave their page."""
    return b'{"n":"%s"}' % (key.encode() * (1 + int(key) % 5 * 300))


async def write(path: Path, number: int, say: Say) -> None:
    """Bring *number* items to their end."""
    async with await Journal.open(path, HEADER) as journal:
        items = [(index, str(index), f"digest {index}") for index in range(number)]
        entries: list[Entry] = []
        for start in range(0, number, 50):
            planned = await journal.plan(items[start : start + 50])
            for entry in planned:
                say(f"{entry.key} {entry.state}")
            entries += planned
        waiting = iter(entries)
        workers = [_work(journal, waiting, say) for _ in range(WORKERS)]
        ends = await asyncio.gather(*workers, return_exceptions=True)
        broken = [end for end in ends if end is not None]
        if broken:
            for end in (*broken, *await asyncio.gather(journal.plan([]), return_exceptions=True)):
                say(f"error {type(end).__name__}: {end}")
            raise broken[0]
    say("end")


async def _work(journal: Journal, waiting: Iterable[Entry], say: Say) -> None:
    for entry in waiting:
        key, begun = entry.key, entry
        if begun.state is State.PLANNED:
            begun = begun.intent(float(key), sent=sent_of(key))
            await journal.record(begun)
            say(f"{key} {State.INTENT}")
        if begun.state is State.INTENT:
            begun = begun.created(f"p{key}")
            await journal.record(begun)
            say(f"{key} {State.CREATED}")
        if begun.state is not State.DONE:
            await journal.record(begun.done(result_of(key)))
            say(f"{key} {State.DONE}")


def lost(path: Path, said: Iterable[str]) -> list[str]:
    """Return the acknowledged changes that the journal lacks or has wrong."""
    found = {entry.key: entry for entries in read(path) for entry in entries}
    faults = [
        f"{key} holds what was never written: {entry!r}"
        for key, entry in found.items()
        if not _true(entry)
    ]
    for line in said:
        key, _, state = line.partition(" ")
        entry = found.get(key)
        if entry is None or ORDER.index(entry.state) < ORDER.index(State(state)):
            faults.append(f"{line} was acknowledged, and is {entry and entry.state}")
    return faults


def _true(entry: Entry) -> bool:
    at = ORDER.index(entry.state)
    found = entry.digest, entry.attempt, entry.intent_at, entry.sent
    return (*found, entry.prediction_id, entry.result) == (
        f"digest {entry.key}",
        int(at > 0),
        float(entry.key) if at > 0 else None,
        sent_of(entry.key) if at == 1 else None,
        f"p{entry.key}" if at > 1 else None,
        result_of(entry.key) if at > 2 else None,
    )


def say_at_once(line: str) -> None:
    """Write *line* in one piece, so that a kill cannot cut it."""
    os.write(1, f"{line}\n".encode())


def main(path: str, number: str, largest: str = "") -> int:
    """Write the journal; the status is 3 when it cannot be written."""
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    try:
        asyncio.run(write(Path(path), int(number), say_at_once))
    except JournalError as error:
        say_at_once(f"error {type(error).__name__}: {error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
