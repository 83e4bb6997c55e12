"""The rows of a journal, read and changed through one connection.

Each change checks first and writes then, so one that is refused has changed nothing.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, cast

import msgspec

from replicate_async.errors import (
    ClientStateError,
    InvalidArgumentError,
    JournalDamaged,
    JournalMismatch,
)
from replicate_async.runs.batch.journal_entry import Entry, State

SCHEMA: Final = """
CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), json BLOB NOT NULL) STRICT;
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    idx INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    intent_at REAL,
    prediction_id TEXT,
    crc INTEGER NOT NULL
) STRICT;
CREATE INDEX items_by_index ON items (idx);
CREATE INDEX items_by_intent ON items (intent_at) WHERE state = 'intent';
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    done_at REAL NOT NULL,
    status TEXT,
    predict_time REAL,
    crc INTEGER NOT NULL,
    result BLOB NOT NULL
) STRICT;
CREATE TABLE former (prediction_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""

_COLUMNS: Final = (
    "items.id, key, digest, idx, state, attempt, intent_at, prediction_id, items.crc, "
    "results.crc, result"
)
_FROM: Final = "FROM items LEFT JOIN results ON results.id = items.id"
_SELECT: Final = f"SELECT {_COLUMNS} {_FROM}"
_BY_KEY: Final = (
    "SELECT id, key, digest, idx, state, attempt, intent_at, prediction_id, crc FROM items "
    "WHERE key = ?"
)
_PAGE: Final = f"{_SELECT} WHERE (idx, items.id) > (?, ?) ORDER BY idx, items.id"
_PAGE_OF_STATE: Final = (
    f"{_SELECT} WHERE (idx, items.id) > (?, ?) AND state = ? ORDER BY idx, items.id"
)
_UNRESOLVED: Final = f"{_SELECT} WHERE state = 'intent' ORDER BY intent_at, items.id"
_INSERT: Final = (
    "INSERT INTO items (key, digest, idx, state, attempt, intent_at, prediction_id, crc) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE: Final = (
    "UPDATE items SET idx = ?, state = ?, attempt = ?, intent_at = ?, prediction_id = ?, crc = ? "
    "WHERE id = ?"
)
_DONE: Final = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)"

START: Final = (-(2**63), 0)
"""The place before the first entry, for `page`."""

_KEYS_AT_ONCE: Final = 250  # SQLite may be built to take no more than 999 parameters
_PAGE_ROWS: Final = 500
_PAGE_BYTES: Final = 4 * 2**20

Row = tuple[int, str, str, int, str, int, float | None, str | None, int]
"""An item: id, key, digest, index, state, attempt, time of the intent, prediction, checksum."""
FullRow = tuple[
    int, str, str, int, str, int, float | None, str | None, int, int | None, bytes | None
]
"""An item, and its result with a checksum of its own."""


class _Metrics(msgspec.Struct, frozen=True, kw_only=True):
    predict_time: float | None = None


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    status: str | None = None
    metrics: _Metrics | None = None


_decode_outcome = msgspec.json.Decoder(_Outcome).decode
_encode = msgspec.json.Encoder().encode


class Table:
    """The items of a journal and their results."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._counts: dict[State, int] | None = None

    def plan(self, items: Sequence[tuple[int, str, str]]) -> list[Entry]:
        """Add what is missing of *items* (index, key, digest), and return all in their order."""
        known = self._known([key for _, key, _ in items])
        missing: dict[str, Entry] = {}
        moved: list[tuple[int, Entry]] = []
        planned: list[Entry] = []
        for index, key, digest in items:
            found = known.get(key)
            entry = missing.get(key) if found is None else found[1]
            if entry is None:
                entry = Entry(key=key, digest=digest, index=index, state=State.PLANNED)
                missing[key] = entry
            if entry.digest != digest:
                raise JournalMismatch(
                    f"the journal knows {key!r} with another input. Use another journal for other "
                    "inputs, or other keys for them."
                )
            if found is not None and entry.index != index:
                entry = msgspec.structs.replace(entry, index=index)
                moved.append((found[0], entry))
            planned.append(entry)
        self._db.executemany(_INSERT, [_inserted(entry) for entry in missing.values()])
        self._db.executemany(_UPDATE, [_updated(row, entry) for row, entry in moved])
        self._count(State.PLANNED, len(missing))
        return planned

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[int, Entry]]:
        known: dict[str, tuple[int, Entry]] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"{_SELECT} WHERE key IN ({marks})"
            for row in self._db.execute(query, some):
                known[row[1]] = (row[0], _entry(row))
        return known

    def intent(self, key: str, at: float) -> None:
        """Record that a create is about to be sent."""
        row, entry = self._find(key)
        _allow(entry, "begin a create", State.PLANNED)
        self._change(
            row,
            entry,
            state=State.INTENT,
            attempt=entry.attempt + 1,
            intent_at=float(at),
        )

    def unsent(self, key: str) -> None:
        """Take back an intent whose create was never sent."""
        row, entry = self._find(key)
        if entry.state is State.INTENT:
            self._change(row, entry, state=State.PLANNED, attempt=entry.attempt - 1, intent_at=None)

    def created(self, key: str, prediction_id: str) -> None:
        """Record the id of the prediction."""
        row, entry = self._find(key)
        if entry.state is State.CREATED and entry.prediction_id == prediction_id:
            return
        _allow(entry, "record a prediction", State.INTENT, State.UNCERTAIN)
        self._change(row, entry, state=State.CREATED, prediction_id=prediction_id)

    def withdrawn(self, key: str) -> None:
        """Record that the create was refused for certain."""
        row, entry = self._find(key)
        _allow(entry, "withdraw a create", State.INTENT)
        self._change(row, entry, state=State.PLANNED, intent_at=None)

    def done(self, key: str, result: bytes) -> None:
        """Record the result."""
        row, entry = self._find(key)
        _allow(entry, "record a result", *(state for state in State if state is not State.DONE))
        try:
            outcome = _decode_outcome(result)
        except msgspec.DecodeError:
            outcome = _Outcome()
        predict_time = outcome.metrics.predict_time if outcome.metrics else None
        values = (row, self._clock(), outcome.status, predict_time, zlib.crc32(result), result)
        self._db.execute(_DONE, values)
        self._change(row, entry, state=State.DONE)

    def uncertain(self, key: str) -> None:
        """Record that nobody knows whether a create happened."""
        row, entry = self._find(key)
        _allow(entry, "give up", State.INTENT, State.CREATED)
        self._change(row, entry, state=State.UNCERTAIN)

    def retry(self, keys: Iterable[str]) -> None:
        """Make entries planned again, all or none."""
        found = [self._find(key) for key in dict.fromkeys(keys)]
        for _, entry in found:
            _allow(entry, "try again", State.PLANNED, State.DONE, State.UNCERTAIN)
        for row, entry in found:
            self._forget(row, entry)

    def again(self, key: str) -> None:
        """Make an entry planned again, whose prediction is to be followed by another."""
        row, entry = self._find(key)
        _allow(entry, "create anew", State.CREATED, State.UNCERTAIN)
        self._forget(row, entry)

    def _forget(self, row: int, entry: Entry) -> None:
        self._db.execute("DELETE FROM results WHERE id = ?", (row,))
        if entry.prediction_id is not None:
            self._db.execute("INSERT OR IGNORE INTO former VALUES (?)", (entry.prediction_id,))
        self._change(row, entry, state=State.PLANNED, intent_at=None, prediction_id=None)

    def claimed(self, ids: Iterable[str]) -> set[str]:
        """Return those of *ids* that belong or belonged to an entry."""
        given, found = list(ids), set[str]()
        for start in range(0, len(given), _KEYS_AT_ONCE):
            some = given[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            for table in ("items", "former"):
                query = f"SELECT prediction_id FROM {table} WHERE prediction_id IN ({marks})"  # noqa: S608 - question marks
                found.update(id for (id,) in self._db.execute(query, some))
        return found

    def get(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        known = self._known([key])
        return known[key][1] if known else None

    def unresolved(self) -> list[Entry]:
        """Return the intents, oldest first."""
        return [_entry(row) for row in self._db.execute(_UNRESOLVED)]

    def page(
        self, after: tuple[int, int], state: State | None
    ) -> tuple[list[Entry], tuple[int, int] | None]:
        """Return the entries after a place, as `page` does."""
        return page(self._db, after, state)

    def counts(self) -> dict[State, int]:
        """Return how many entries there are of each state."""
        if self._counts is None:
            self._counts = counts(self._db)
        return self._counts.copy()

    def _find(self, key: str) -> tuple[int, Entry]:
        row: Row | None = self._db.execute(_BY_KEY, (key,)).fetchone()
        if row is None:
            raise InvalidArgumentError(f"the journal does not know {key!r}: plan it first.")
        return row[0], _bare_entry(row)

    def _change(
        self,
        row: int,
        entry: Entry,
        **changes: State | float | str | None,
    ) -> None:
        changed = msgspec.structs.replace(entry, **changes)
        self._db.execute(_UPDATE, _updated(row, changed))
        self._count(entry.state, -1)
        self._count(changed.state, 1)

    def _count(self, state: State, more: int) -> None:
        # A group that is rolled back ends the journal, so the counts never have to go back.
        if self._counts is not None:
            self._counts[state] += more


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
        entry = _entry(row)
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


def _allow(entry: Entry, what: str, *states: State) -> None:
    if entry.state not in states:
        raise ClientStateError(
            f"cannot {what} for {entry.key!r}: it is {entry.state}, and would have to be "
            f"{' or '.join(states)}."
        )


def _checksum(entry: Entry) -> int:
    fields = (
        entry.key,
        entry.digest,
        entry.index,
        entry.state,
        entry.attempt,
        entry.intent_at,
        entry.prediction_id,
    )
    return zlib.crc32(_encode(fields))


def _inserted(entry: Entry) -> tuple[object, ...]:
    return (
        entry.key,
        entry.digest,
        entry.index,
        entry.state,
        entry.attempt,
        entry.intent_at,
        entry.prediction_id,
        _checksum(entry),
    )


def _updated(row: int, entry: Entry) -> tuple[object, ...]:
    return (
        entry.index,
        entry.state,
        entry.attempt,
        entry.intent_at,
        entry.prediction_id,
        _checksum(entry),
        row,
    )


def _bare_entry(row: Row) -> Entry:
    _, key, digest, index, state, attempt, intent_at, prediction_id, crc = row
    if zlib.crc32(_encode((key, digest, index, state, attempt, intent_at, prediction_id))) != crc:
        raise JournalDamaged(f"the row of {key!r} is not as it was written")
    return Entry(
        key=key,
        digest=digest,
        index=index,
        state=State(state),
        attempt=attempt,
        intent_at=intent_at,
        prediction_id=prediction_id,
    )


def _entry(row: FullRow) -> Entry:
    *bare, crc, result = row
    entry = _bare_entry(cast("Row", tuple(bare)))
    if entry.state is not State.DONE:
        return entry
    if result is None or zlib.crc32(result) != crc:
        raise JournalDamaged(f"the result of {entry.key!r} is not as it was written")
    return msgspec.structs.replace(entry, result=result)
