"""The rows of a journal, read and changed through one connection.

Each change checks first and writes then, so one that is refused has changed nothing.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final

import msgspec

from replicate_async.errors import (
    ClientStateError,
    InvalidArgumentError,
    JournalMismatch,
)
from replicate_async.runs.batch.journal_entry import Entry, JournalHeader, State
from replicate_async.runs.batch.journal_rows import (
    BARE,
    SELECT,
    Row,
    bare_entry,
    checksum,
    counts,
    entry_of,
    page,
)

_BY_KEY: Final = f"SELECT {BARE} FROM items WHERE key = ?"  # noqa: S608 - names of ours
_UNRESOLVED: Final = f"{SELECT} WHERE state = 'intent' ORDER BY intent_at, items.id"
_INSERT: Final = (
    "INSERT INTO items (id, key, digest, idx, state, attempt, intent_at, window_start, window_end, "
    "prediction_id, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_MOVE: Final = "UPDATE items SET idx = ?, digest = ?, crc = ? WHERE id = ?"
_DONE: Final = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)"

_KEYS_AT_ONCE: Final = 250  # SQLite may be built to take no more than 999 parameters
_MOST_KNOWN: Final = 20_000
"""Entries that are kept in memory: more than are planned and not done at a time."""


class _Metrics(msgspec.Struct, frozen=True, kw_only=True):
    predict_time: float | None = None


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    status: str | None = None
    metrics: _Metrics | None = None


_decode_outcome = msgspec.json.Decoder(_Outcome).decode


class Table:
    """The items of a journal and their results."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._counts: dict[State, int] | None = None
        self._rows: dict[str, tuple[int, Entry]] = {}
        """Entries that are likely to be changed soon, as they are."""
        self._next_row: int | None = None

    def plan(self, items: Sequence[tuple[int, str, str]], *, by_key: bool = False) -> list[Entry]:
        """Add what is missing of *items* (index, key, digest), and return all in their order.

        With *by_key*, an item is the same under any digest.
        """
        known = self._known([key for _, key, _ in items])
        placed: dict[str, tuple[int, Entry]] = {}
        missing: list[tuple[int, Entry]] = []
        moved: list[tuple[int, Entry]] = []
        row = self._new_row()
        for index, key, digest in items:
            found = placed.get(key) or known.get(key)
            if found is None:
                entry = Entry(key=key, digest=digest, index=index, state=State.PLANNED)
                found = row + len(missing), entry
                missing.append(found)
            elif found[1].digest != digest and not by_key:
                raise JournalMismatch(
                    f"the journal knows {key!r} with another input. Use another journal for other "
                    "inputs, or other keys for them; when values differ at each run, as signed "
                    'URLs do, use match="key" so that the key alone counts.'
                )
            elif key not in placed:
                entry = _moved(found[1], index, digest)
                if entry is not found[1]:
                    found = found[0], entry
                    moved.append(found)
            placed[key] = found
        self._db.executemany(_INSERT, [_inserted(*each) for each in missing])
        moves = [(entry.index, entry.digest, checksum(entry), at) for at, entry in moved]
        self._db.executemany(_MOVE, moves)
        self._next_row = row + len(missing)
        self._count(State.PLANNED, len(missing))
        for at, entry in placed.values():
            self._keep(at, entry)
        return [placed[key][1] for _, key, _ in items]

    def _new_row(self) -> int:
        if self._next_row is not None:
            return self._next_row
        last: int | None = self._db.execute("SELECT max(id) FROM items").fetchone()[0]
        return (last or 0) + 1

    def _keep(self, row: int, entry: Entry) -> None:
        if entry.state is State.DONE:
            self._rows.pop(entry.key, None)
            return
        if len(self._rows) >= _MOST_KNOWN:
            self._rows.clear()
        self._rows[entry.key] = row, entry

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[int, Entry]]:
        known: dict[str, tuple[int, Entry]] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"{SELECT} WHERE key IN ({marks})"
            for row in self._db.execute(query, some):
                known[row[1]] = (row[0], entry_of(row))
        return known

    def intent(self, key: str, at: float, window_start: float | None) -> None:
        """Record that a create is about to be sent."""
        row, entry = self._find(key)
        _allow(entry, "begin a create", State.PLANNED)
        self._change(
            row,
            entry,
            state=State.INTENT,
            attempt=entry.attempt + 1,
            intent_at=float(at),
            window_start=window_start,
            window_end=None,
        )

    def unsent(self, key: str) -> None:
        """Take back an intent whose create was never sent."""
        row, entry = self._find(key)
        if entry.state is State.INTENT:
            self._change(
                row,
                entry,
                state=State.PLANNED,
                attempt=entry.attempt - 1,
                intent_at=None,
                window_start=None,
            )

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
        self._change(row, entry, state=State.PLANNED, intent_at=None, window_start=None)

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

    def uncertain(self, key: str, window_end: float | None) -> None:
        """Record that nobody knows whether a create happened."""
        row, entry = self._find(key)
        _allow(entry, "give up", State.INTENT, State.CREATED, State.UNCERTAIN)
        self._change(row, entry, state=State.UNCERTAIN, window_end=window_end)

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

    def resolve(self, key: str, prediction_id: str | None) -> None:
        """Record what the user found out about an entry that is an intent or uncertain."""
        known = self._known([key])
        if key not in known:
            raise InvalidArgumentError(
                f"the journal has no item {key!r}: 'replicate-async batch status' names those that "
                "are undecided."
            )
        row, entry = known[key]
        if entry.state not in (State.INTENT, State.UNCERTAIN):
            raise InvalidArgumentError(
                f"{key!r} is {entry.state}, so there is nothing to decide about it."
            )
        if prediction_id is None:
            self._forget(row, entry)
            return
        self._check_free(prediction_id)
        self._change(row, entry, state=State.CREATED, prediction_id=prediction_id)

    def _check_free(self, prediction_id: str) -> None:
        query = "SELECT key FROM items WHERE prediction_id = ?"
        owner = self._db.execute(query, (prediction_id,)).fetchone()
        if owner is not None:
            raise InvalidArgumentError(f"prediction {prediction_id} belongs to {owner[0]!r}.")
        if self.claimed([prediction_id]):
            raise InvalidArgumentError(
                f"prediction {prediction_id} was an earlier attempt at an item of this batch."
            )

    def _forget(self, row: int, entry: Entry) -> None:
        self._db.execute("DELETE FROM results WHERE id = ?", (row,))
        if entry.prediction_id is not None:
            self._db.execute("INSERT OR IGNORE INTO former VALUES (?)", (entry.prediction_id,))
        self._change(
            row,
            entry,
            state=State.PLANNED,
            intent_at=None,
            window_start=None,
            window_end=None,
            prediction_id=None,
        )

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

    def set_latest_version(self, version: str) -> JournalHeader:
        """Record the version that the model was found to have, and return the new header."""
        (said,) = self._db.execute("SELECT json FROM header").fetchone()
        header = msgspec.structs.replace(
            msgspec.json.decode(said, type=JournalHeader), latest_version=version
        )
        said = msgspec.json.encode(header)
        self._db.execute("UPDATE header SET json = ?, crc = ?", (said, zlib.crc32(said)))
        return header

    def get(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        known = self._known([key])
        return known[key][1] if known else None

    def unresolved(self) -> list[Entry]:
        """Return the intents, oldest first."""
        return [entry_of(row) for row in self._db.execute(_UNRESOLVED)]

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
        kept = self._rows.get(key)
        if kept is not None:
            return kept
        row: Row | None = self._db.execute(_BY_KEY, (key,)).fetchone()
        if row is None:
            raise InvalidArgumentError(f"the journal does not know {key!r}: plan it first.")
        return row[0], bare_entry(row)

    def _change(
        self,
        row: int,
        entry: Entry,
        **changes: State | float | str | None,
    ) -> None:
        changed = msgspec.structs.replace(entry, **changes)
        self._db.execute(_update_of(*changes), (*changes.values(), checksum(changed), row))
        self._keep(row, changed)
        self._count(entry.state, -1)
        self._count(changed.state, 1)

    def rolled_back(self) -> None:
        """Take note that what was done since the last commit was not."""
        self._counts = self._next_row = None
        self._rows.clear()

    def _count(self, state: State, more: int) -> None:
        if self._counts is not None:
            self._counts[state] += more


def _moved(entry: Entry, index: int, digest: str) -> Entry:
    """Return *entry* as it is planned now; what was sent, perhaps, keeps the digest it had then."""
    if entry.state in (State.INTENT, State.UNCERTAIN):
        digest = entry.digest
    if (entry.index, entry.digest) == (index, digest):
        return entry
    return msgspec.structs.replace(entry, index=index, digest=digest)


def _allow(entry: Entry, what: str, *states: State) -> None:
    if entry.state not in states:
        raise ClientStateError(
            f"cannot {what} for {entry.key!r}: it is {entry.state}, and would have to be "
            f"{' or '.join(states)}."
        )


def _inserted(row: int, entry: Entry) -> tuple[object, ...]:
    return (
        row,
        entry.key,
        entry.digest,
        entry.index,
        entry.state,
        entry.attempt,
        entry.intent_at,
        entry.window_start,
        entry.window_end,
        entry.prediction_id,
        checksum(entry),
    )


@cache
def _update_of(*columns: str) -> str:
    """Return what changes no other columns, whose indexes would have to be changed too."""
    changes = ", ".join(f"{column} = ?" for column in (*columns, "crc"))
    return f"UPDATE items SET {changes} WHERE id = ?"  # noqa: S608 - names of ours
