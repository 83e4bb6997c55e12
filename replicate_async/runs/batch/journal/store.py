"""The SQLite tables of a journal. A call that raises is rolled back."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from replicate_async.errors import ClientStateError, InvalidArgumentError, JournalMismatchError
from replicate_async.runs.batch.journal.entry import TRANSITIONS, Entry, JournalHeader, State

SCHEMA: Final = """
CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), json BLOB NOT NULL, crc INTEGER);
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    "index" INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    intent_at REAL,
    window_start REAL,
    window_end REAL,
    prediction_id TEXT,
    done_at REAL,
    crc INTEGER NOT NULL
);
CREATE INDEX items_by_index ON items ("index");
CREATE INDEX items_by_prediction ON items (prediction_id) WHERE prediction_id IS NOT NULL;
CREATE TABLE contents (id INTEGER PRIMARY KEY, sent BLOB, result BLOB, value BLOB);
CREATE TABLE former (prediction_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
"""``contents`` has the long fields of entries, so that the rows of ``items`` stay small; ``crc`` is
of all fields. ``former`` has the predictions of items that were reset: they belong to no other
item."""

_FIELDS: Final = Entry.__struct_fields__
_CONTENTS: Final = 3
"""The last fields of an entry, which are in ``contents``."""
_COLUMNS: Final = [f'"{name}"' for name in _FIELDS]
_STORED: Final = _COLUMNS[:-_CONTENTS]
_SELECT: Final = (
    f"SELECT crc, {', '.join(_COLUMNS)} "  # noqa: S608 - names of ours
    "FROM items LEFT JOIN contents ON contents.id = items.id"
)
_WRITE: Final = (
    f"INSERT INTO items (crc, {', '.join(_STORED)}) VALUES (?{', ?' * len(_STORED)}) "  # noqa: S608 - names of ours
    "ON CONFLICT (key) DO UPDATE SET crc = excluded.crc"
    + "".join(f", {name} = excluded.{name}" for name in _STORED[1:])
)
_WRITE_CONTENTS: Final = "REPLACE INTO contents SELECT id, ?, ?, ? FROM items WHERE key = ?"
_PAGE: Final = (
    f'{_SELECT} WHERE ("index", key) > (?, ?) AND state = coalesce(?, state) ORDER BY "index", key'
)
_CLAIMED: Final = (
    "SELECT prediction_id FROM items WHERE prediction_id = ?1 "
    "UNION SELECT prediction_id FROM former WHERE prediction_id = ?1"
)
_PAGE_ROWS: Final = 500
_PAGE_BYTES: Final = 4 * 2**20


class DamagedError(Exception):
    """A part of the file is not as it was written."""


class Store:
    """The entries of a journal, read and changed through one connection.

    A store that is not *persistent* forgets entries that are done.
    """

    def __init__(self, db: sqlite3.Connection, *, persistent: bool = True) -> None:
        self._db = db
        self._persistent = persistent

    def plan(self, items: Sequence[tuple[int, str, str]]) -> list[Entry]:
        """Add the *items* (index, key, digest) that are missing, and return all in their order.

        An empty digest is that of any input.
        """
        planned: list[Entry] = []
        for index, key, digest in items:
            known = self.get(key)
            if known is not None and digest and known.digest != digest:
                raise JournalMismatchError(
                    f"the journal knows {key!r} with another input. Use another journal for other "
                    "inputs, or other keys for them; when values differ at each run, as signed "
                    'URLs do, use match="key" so that the key alone counts.'
                )
            entry = known or Entry(key=key, digest=digest, index=index)
            entry = msgspec.structs.replace(entry, index=index, digest=digest)
            if entry != known:
                self._write(entry)
            planned.append(entry)
        return planned

    def record(self, entry: Entry) -> None:
        """Store *entry*, if its state may follow the stored one.

        The stored index and digest stay. Raises `InvalidArgumentError` for a key that is not
        planned, and `ClientStateError` for a state that cannot follow.
        """
        before = self.get(entry.key)
        if before is None:
            raise InvalidArgumentError(f"the journal does not know {entry.key!r}: plan it first.")
        if entry.state not in TRANSITIONS[before.state]:
            raise ClientStateError(f"{entry.key!r} is {before.state}: it cannot be {entry.state}.")
        if entry.state is State.DONE and not self._persistent:
            self._db.execute("DELETE FROM items WHERE key = ?", (entry.key,))
            return
        if before.prediction_id not in (None, entry.prediction_id):
            self._db.execute("INSERT OR IGNORE INTO former VALUES (?)", (before.prediction_id,))
        self._write(msgspec.structs.replace(entry, index=before.index, digest=before.digest))
        contents = entry.sent, entry.result, entry.value
        if contents != (before.sent, before.result, before.value):
            self._db.execute(_WRITE_CONTENTS, (*contents, entry.key))

    def take_back(self, intent: Entry) -> None:
        """Reset the entry of a create that was not sent, if this *intent* of it is stored."""
        if self.get(intent.key) == intent:
            self.record(intent.reset())

    def _write(self, entry: Entry) -> None:
        values = msgspec.structs.astuple(entry)
        self._db.execute(_WRITE, (_checksum(values), *values[:-_CONTENTS]))

    def get(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        row = self._db.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        return None if row is None else _entry(row)

    def claimed(self, ids: Sequence[str]) -> set[str]:
        """Return those of *ids* that belong or belonged to an entry."""
        return {id for id in ids if self._db.execute(_CLAIMED, (id,)).fetchone()}

    def set_header(self, header: JournalHeader) -> None:
        """Store *header*, in place of an earlier one."""
        content = msgspec.json.encode(header)
        values = (content, zlib.crc32(content))
        self._db.execute("INSERT OR REPLACE INTO header VALUES (1, ?, ?)", values)

    def page(self, after: Entry | None, state: State | None = None) -> list[Entry]:
        """Return the entries that follow *after*, or the first ones, in index order.

        There are as many as a few megabytes hold; none when there are no more.
        """
        entries: list[Entry] = []
        size = 0
        place = (-1, "") if after is None else (after.index, after.key)
        for row in self._db.execute(_PAGE, (*place, state)):
            entry = _entry(row)
            entries.append(entry)
            size += len(entry.result or b"")
            if len(entries) == _PAGE_ROWS or size >= _PAGE_BYTES:
                break
        return entries


_encode: Final = msgspec.json.Encoder().encode


def _checksum(values: Sequence[Any]) -> int:
    """Return the checksum of the fields of an entry."""
    crc = zlib.crc32(_encode(values[:-_CONTENTS]))
    for content in values[-_CONTENTS:]:
        crc = zlib.crc32(content or b"", crc)
    return crc


def _entry(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row of `_SELECT`; raises `DamagedError`."""
    crc, *values = row
    if _checksum(values) != crc:
        raise DamagedError(f"the entry of {values[0]!r} is not as it was written")
    fields: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    fields["state"] = State(fields["state"])
    return Entry(**fields)
