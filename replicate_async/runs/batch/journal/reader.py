"""Reading a journal without its lock, also while its batch runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from replicate_async.core.usage import ModelUsage, Price, UsageCounter
from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.journal.entry import Entry, JournalHeader, State
from replicate_async.runs.batch.journal.file import check, explained
from replicate_async.runs.batch.journal.store import Store
from replicate_async.runs.batch.result_codec import read_stored

_COUNTS: Final = "SELECT state, count(*) FROM items GROUP BY state"
_TIMES: Final = "SELECT min(intent_at), min(done_at), max(done_at) FROM items"
_RESULTS: Final = "SELECT id, result FROM contents WHERE result IS NOT NULL"
_UNDECIDED: Final = "SELECT key FROM items WHERE state = 'uncertain' ORDER BY \"index\", id"


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The counts and times of a batch, from its journal."""

    header: JournalHeader
    counts: Mapping[State, int]
    """How many inputs there are of each state."""
    succeeded: int
    failed: int
    """Inputs that are done and have no output."""
    usage: ModelUsage
    """What the predictions used whose results are recorded."""
    began_at: float | None
    """When the first create that is remembered was sent, in seconds since 1970."""
    last_done_at: float | None
    """When the last result was recorded, in seconds since 1970."""
    per_second: float | None
    """Results a second from the first to the last, pauses between runs included; None when there
    are fewer than two."""
    undecided: list[str] = []
    """The keys of uncertain inputs, in index order; see ``client.resolve_batch_item``."""


def status(
    path: str | os.PathLike[str], prices: Mapping[str, Price] | None = None
) -> JournalStatus:
    """Return the status of the batch of the journal at *path*; it may be running.

    *prices* are functions of a run's metrics by "owner/name"; without one the cost is None.

    Blocks while it reads. Raises `JournalError` as `Journal.open` does, and `InvalidArgumentError`
    when there is none.
    """
    with _reading(path) as (header, db):
        db.execute("BEGIN")  # one moment for all of it
        began, first, last = db.execute(_TIMES).fetchone()
        done = succeeded = 0
        used = UsageCounter(prices)
        for row, result in db.execute(_RESULTS):
            stored = read_stored(result)
            done += 1
            succeeded += stored.status == "succeeded"
            if stored.batch.refusal is None:  # else there is no prediction
                used.count(str(row), stored)
        return JournalStatus(
            header=header,
            counts=dict.fromkeys(State, 0) | {State(state): n for state, n in db.execute(_COUNTS)},
            succeeded=succeeded,
            failed=done - succeeded,
            usage=used.usage().total,
            began_at=began,
            last_done_at=last,
            per_second=(done - 1) / (last - first) if done > 1 and last > first else None,
            undecided=[key for (key,) in db.execute(_UNDECIDED)],
        )


def read(path: str | os.PathLike[str]) -> Iterator[list[Entry]]:
    """Yield the entries of the journal at *path* in index order, a few megabytes at a time.

    An entry that a running batch changes meanwhile comes as it was or as it is. Blocks, and raises,
    as `status` does.
    """
    with _reading(path) as (_, db):
        last: Entry | None = None
        while entries := Store(db).page(last):
            yield entries
            last = entries[-1]


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Generator[tuple[JournalHeader, sqlite3.Connection]]:
    where = Path(os.path.realpath(path))
    if not where.is_file():
        raise InvalidArgumentError(f"there is no journal at {where}: check the path.")
    with explained(where), closing(_connect(where)) as db:
        yield check(where, db), db


def _connect(path: Path) -> sqlite3.Connection:
    if path.with_name(f"{path.name}-wal").exists():
        mode = "ro"  # the batch runs or was killed: the log is its own
    elif os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        mode = "rw"  # so that SQLite removes the log that it makes
    else:
        mode = "ro&immutable=1"
    db = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
    db.execute("PRAGMA query_only = ON")
    return db
