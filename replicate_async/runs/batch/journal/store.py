"""The SQLite tables of a journal. A change makes all its checks before it writes."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from replicate_async.errors import ClientStateError, InvalidArgumentError, JournalMismatchError
from replicate_async.runs.batch.journal.entry import TRANSITIONS, Entry, JournalHeader, State
from replicate_async.runs.batch.result_codec import read_stored

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
CREATE INDEX items_by_prediction ON items (prediction_id) WHERE prediction_id IS NOT NULL;
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    done_at REAL NOT NULL,
    status TEXT,
    predict_time REAL,
    crc INTEGER NOT NULL,
    result BLOB NOT NULL,
    value BLOB
);
CREATE TABLE inputs (id INTEGER PRIMARY KEY, sent BLOB NOT NULL);
CREATE TABLE former (prediction_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
"""``inputs`` has the inputs of open creates: few, so that the rows of ``items`` stay small.
``former`` has the predictions of items that were reset: they belong to no other item."""

_FIELDS: Final = Entry.__struct_fields__[:-2]
"""The fields of an entry that are covered by the checksum of its row in ``items``."""
_STORED: Final = ", ".join("idx" if name == "index" else name for name in _FIELDS[:-1])
"""The columns of ``items`` for all of them but ``sent``."""
_SELECT: Final = (
    f"SELECT items.id, {_STORED}, sent, items.crc, results.crc, result, value "  # noqa: S608 - names of ours
    "FROM items LEFT JOIN results ON results.id = items.id LEFT JOIN inputs ON inputs.id = items.id"
)
_PAGE: Final = f"{_SELECT} WHERE (idx, items.id) > (?, ?)%s ORDER BY idx, items.id"
_INSERT: Final = f"INSERT INTO items ({_STORED}, crc) VALUES ({'?, ' * (len(_FIELDS) - 1)}?)"  # noqa: S608 - names of ours
_MOVE: Final = "UPDATE items SET idx = ?, digest = ?, crc = ? WHERE key = ?"
_CHANGED: Final = _FIELDS[3:-1]
_UPDATE: Final = f"UPDATE items SET {' = ?, '.join(_CHANGED)} = ?, crc = ? WHERE id = ?"  # noqa: S608 - names of ours
_INSERT_RESULT: Final = "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, NULL)"
_SET_VALUE: Final = "UPDATE results SET value = ?, crc = ? WHERE id = ?"

_KEYS_AT_ONCE: Final = 250  # SQLite may be built to take no more than 999 parameters
_PAGE_ROWS: Final = 500
_PAGE_BYTES: Final = 4 * 2**20

Place = tuple[int, int]
"""An index and a row: where a page ends."""
START: Final[Place] = (-(2**63), 0)
"""The place before the first entry."""


class DamagedRowError(Exception):
    """A row whose checksum does not match."""


_encode = msgspec.json.Encoder().encode


class Store:
    """The entries of a journal, read and changed through one connection.

    A store that is not *persistent* forgets entries that are done.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        clock: Callable[[], float] = time.time,
        *,
        persistent: bool = True,
    ) -> None:
        self._db = db
        self._clock = clock
        self._persistent = persistent

    def plan(self, items: Sequence[tuple[int, str, str]]) -> list[Entry]:
        """Add the *items* (index, key, digest) that are missing, and return all in their order.

        An empty digest is that of any input.
        """
        known = self._known([key for _, key, _ in items])
        placed: dict[str, Entry] = {}
        for index, key, digest in items:
            before = placed.get(key) or known.get(key)
            if before is None:
                placed[key] = Entry(key=key, digest=digest, index=index)
            elif digest and before.digest != digest:
                raise JournalMismatchError(
                    f"the journal knows {key!r} with another input. Use another journal for other "
                    "inputs, or other keys for them; when values differ at each run, as signed "
                    'URLs do, use match="key" so that the key alone counts.'
                )
            elif key not in placed:
                placed[key] = msgspec.structs.replace(before, index=index, digest=digest)
        added = [each for key, each in placed.items() if key not in known]
        moved = [each for key, each in placed.items() if key in known and each != known[key]]
        self._db.executemany(_INSERT, [(*_values(each)[:-1], checksum(each)) for each in added])
        self._db.executemany(
            _MOVE, [(each.index, each.digest, checksum(each), each.key) for each in moved]
        )
        return [placed[key] for _, key, _ in items]

    def record(self, entry: Entry) -> None:
        """Store *entry*, if its state may follow the stored one.

        The stored index and digest stay. Raises `InvalidArgumentError` for a key that is not
        planned, and `ClientStateError` for a state that cannot follow.
        """
        row, before = self._find(entry.key)
        if entry.state not in TRANSITIONS[before.state]:
            raise ClientStateError(f"{entry.key!r} is {before.state}: it cannot be {entry.state}.")
        if before.prediction_id not in (None, entry.prediction_id):
            self._db.execute("INSERT OR IGNORE INTO former VALUES (?)", (before.prediction_id,))
        if entry.state is State.PLANNED:
            self._db.execute("DELETE FROM results WHERE id = ?", (row,))
        elif entry.state is State.DONE:
            if not self._persistent:
                self._db.execute("DELETE FROM items WHERE id = ?", (row,))
                return
            result = entry.result or b""
            stored, crc = read_stored(result), _result_checksum(result)
            values = row, self._clock(), stored.status, stored.predict_seconds, crc, result
            self._db.execute(_INSERT_RESULT, values)
        elif entry.state is State.FINISHED:
            crc = _result_checksum(before.result or b"", entry.value)
            self._db.execute(_SET_VALUE, (entry.value, crc, row))
        after = msgspec.structs.replace(entry, index=before.index, digest=before.digest)
        self._db.execute(_UPDATE, (*_values(after)[3:-1], checksum(after), row))
        if after.sent != before.sent:
            self._db.execute("DELETE FROM inputs WHERE id = ?", (row,))
            if after.sent is not None:
                self._db.execute("INSERT INTO inputs VALUES (?, ?)", (row, after.sent))

    def take_back(self, intent: Entry) -> None:
        """Reset the entry of a create that was not sent, if this *intent* of it is stored."""
        stored = self.get(intent.key)
        if stored is not None and stored.state is State.INTENT:
            is_this = (stored.attempt, stored.intent_at) == (intent.attempt, intent.intent_at)
            if is_this:
                self.record(stored.reset())

    def _find(self, key: str) -> tuple[int, Entry]:
        row = self._db.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise InvalidArgumentError(f"the journal does not know {key!r}: plan it first.")
        return row[0], _entry(row)

    def _known(self, keys: Sequence[str]) -> dict[str, Entry]:
        query = f"{_SELECT} WHERE key IN (%s)"
        return {(entry := _entry(row)).key: entry for row in self._all(query, keys)}

    def _all(self, query: str, values: Sequence[str]) -> Iterator[Any]:
        """Yield the rows of *query* for any number of values."""
        for start in range(0, len(values), _KEYS_AT_ONCE):
            some = values[start : start + _KEYS_AT_ONCE]
            yield from self._db.execute(query % ",".join("?" * len(some)), some)

    def claimed(self, ids: Sequence[str]) -> set[str]:
        """Return those of *ids* that belong or belonged to an entry."""
        query = "SELECT prediction_id FROM {} WHERE prediction_id IN (%s)"
        return {
            id for table in ("items", "former") for (id,) in self._all(query.format(table), ids)
        }

    def set_header(self, header: JournalHeader) -> None:
        """Store *header*, in place of an earlier one."""
        content = msgspec.json.encode(header)
        values = (content, zlib.crc32(content))
        self._db.execute("INSERT OR REPLACE INTO header VALUES (1, ?, ?)", values)

    def get(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        return self._known([key]).get(key)

    def page(self, after: Place, state: State | None) -> tuple[list[Entry], Place | None]:
        """Return entries after a place, in index order, and the place where they end.

        There are as many as a few megabytes hold. The place is None when there are no more.
        """
        chosen = _PAGE % ("" if state is None else " AND state = ?")
        entries: list[Entry] = []
        size = 0
        for row in self._db.execute(chosen, after if state is None else (*after, state)):
            entry = _entry(row)
            entries.append(entry)
            size += len(entry.result or b"")
            if len(entries) == _PAGE_ROWS or size >= _PAGE_BYTES:
                return entries, (entry.index, row[0])
        return entries, None

    def counts(self) -> dict[State, int]:
        """Return how many entries there are of each state."""
        query = "SELECT state, count(*) FROM items GROUP BY state"
        found = {State(state): number for state, number in self._db.execute(query)}
        return {state: found.get(state, 0) for state in State}


def checksum(entry: Entry) -> int:
    """Return the checksum of an entry without its result; a row that changed does not match it."""
    return zlib.crc32(_encode(_values(entry)))


def _result_checksum(result: bytes, value: bytes | None = None) -> int:
    return zlib.crc32(value or b"", zlib.crc32(result))


def _values(entry: Entry) -> tuple[Any, ...]:
    return msgspec.structs.astuple(entry)[:-2]


def _entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row of `_SELECT`; raises `DamagedRowError`."""
    values, (crc, result_crc, result, value) = row[1:-4], row[-4:]
    if zlib.crc32(_encode(values)) != crc:
        raise DamagedRowError(f"the row of {values[0]!r} is not as it was written")
    named: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    named["state"] = State(named["state"])
    if named["state"] in (State.DONE, State.FINISHED) and (
        result is None or _result_checksum(result, value) != result_crc
    ):
        raise DamagedRowError(f"the result of {values[0]!r} is not as it was written")
    return Entry(**named, result=result, value=value)
