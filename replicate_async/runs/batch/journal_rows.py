"""The tables of a journal, and how their rows become entries."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from typing import Final, cast

import msgspec

from replicate_async.runs.batch.journal_entry import Entry, State

SCHEMA: Final = """
CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), json BLOB NOT NULL, crc INTEGER);
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    idx INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    intent_at REAL,
    window_start REAL,
    window_end REAL,
    prediction_id TEXT,
    crc INTEGER NOT NULL
);
CREATE INDEX items_by_index ON items (idx);
CREATE INDEX items_by_intent ON items (intent_at) WHERE state = 'intent';
CREATE INDEX items_by_prediction ON items (prediction_id) WHERE prediction_id IS NOT NULL;
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    done_at REAL NOT NULL,
    status TEXT,
    predict_time REAL,
    crc INTEGER NOT NULL,
    result BLOB NOT NULL
);
CREATE TABLE former (prediction_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

BARE: Final = (
    "items.id, key, digest, idx, state, attempt, intent_at, window_start, window_end, "
    "prediction_id, items.crc"
)
"""The columns of a `Row`."""
_COLUMNS: Final = f"{BARE}, results.crc, result"
_FROM: Final = "FROM items LEFT JOIN results ON results.id = items.id"
SELECT: Final = f"SELECT {_COLUMNS} {_FROM}"
_PAGE: Final = f"{SELECT} WHERE (idx, items.id) > (?, ?) ORDER BY idx, items.id"
_PAGE_OF_STATE: Final = (
    f"{SELECT} WHERE (idx, items.id) > (?, ?) AND state = ? ORDER BY idx, items.id"
)
START: Final = (-(2**63), 0)
"""The place before the first entry, for `page`."""

_PAGE_ROWS: Final = 500
_PAGE_BYTES: Final = 4 * 2**20


Row = tuple[int, str, str, int, str, int, float | None, float | None, float | None, str | None, int]
"""An item: id, key, digest, index, state, attempt, time of the intent, start and end of the window,
prediction, checksum."""
FullRow = tuple[
    int,
    str,
    str,
    int,
    str,
    int,
    float | None,
    float | None,
    float | None,
    str | None,
    int,
    int | None,
    bytes | None,
]
"""An item, and its result with a checksum of its own."""


_encode = msgspec.json.Encoder().encode


class DamagedRowError(Exception):
    """A row that is not as it was written."""


def page(
    db: sqlite3.Connection, after: tuple[int, int], state: State | None
) -> tuple[list[Entry], tuple[int, int] | None]:
    """Return the entries after a place, in index order, and the place where they end.

    There are as many as a few megabytes hold. The place is None when there are no more.
    """
    rows = (
        db.execute(_PAGE, after) if state is None else db.execute(_PAGE_OF_STATE, (*after, state))
    )
    entries: list[Entry] = []
    size = 0
    for row in rows:
        entry = entry_of(row)
        entries.append(entry)
        size += len(entry.result or b"")
        if len(entries) == _PAGE_ROWS or size >= _PAGE_BYTES:
            return entries, (entry.index, row[0])
    return entries, None


def pages(db: sqlite3.Connection, state: State | None = None) -> Iterator[list[Entry]]:
    """Yield all entries in index order, page by page."""
    after: tuple[int, int] | None = START
    while after is not None:
        entries, after = page(db, after, state)
        yield entries


def counts(db: sqlite3.Connection) -> dict[State, int]:
    """Return how many items there are of each state."""
    found = dict.fromkeys(State, 0)
    for state, number in db.execute("SELECT state, count(*) FROM items GROUP BY state"):
        found[State(state)] = number
    return found


def checksum(entry: Entry) -> int:
    """Return what is stored with an entry, to tell whether its row is as it was written."""
    fields = (
        entry.key,
        entry.digest,
        entry.index,
        entry.state,
        entry.attempt,
        entry.intent_at,
        entry.window_start,
        entry.window_end,
        entry.prediction_id,
    )
    return zlib.crc32(_encode(fields))


def bare_entry(row: Row) -> Entry:
    """Return the entry of an item, without its result."""
    _, key, digest, index, state, attempt, intent_at, start, end, prediction_id, crc = row
    if zlib.crc32(_encode(row[1:-1])) != crc:
        raise DamagedRowError(f"the row of {key!r} is not as it was written")
    return Entry(
        key=key,
        digest=digest,
        index=index,
        state=State(state),
        attempt=attempt,
        intent_at=intent_at,
        window_start=start,
        window_end=end,
        prediction_id=prediction_id,
    )


def entry_of(row: FullRow) -> Entry:
    """Return the entry of an item with its result."""
    *bare, crc, result = row
    entry = bare_entry(cast("Row", tuple(bare)))
    if entry.state is not State.DONE:
        return entry
    if result is None or zlib.crc32(result) != crc:
        raise DamagedRowError(f"the result of {entry.key!r} is not as it was written")
    return msgspec.structs.replace(entry, result=result)
