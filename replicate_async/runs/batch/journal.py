"""The journal of a batch: what was sent, what came of it, and what nobody knows.

It is one SQLite file. Each input has an entry that goes from planned to intent (written before the
create is sent), created (its prediction's id is known) and done (its result is there). An entry
that is left as an intent, because the process died, tells a resume that a prediction may exist.

The file holds keys, digests of inputs and results, and neither inputs nor the API token. It has
mode 0600.
"""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self, TypeVar, cast

from replicate_async.errors import ClientStateError, InvalidArgumentError
from replicate_async.runs.batch.journal_entry import FORMAT, Entry, JournalHeader, State
from replicate_async.runs.batch.journal_rows import START
from replicate_async.runs.batch.journal_table import Table
from replicate_async.runs.batch.journal_writer import Call, Writer

__all__ = ["FORMAT", "Entry", "Journal", "JournalHeader", "State"]

T = TypeVar("T")


class Journal:
    """A batch's journal, open for writing by this process alone.

    Whatever a method has returned from is on disk, and survives a crash of the process, of the
    system, and a loss of power. What arrives while a commit is under way is committed together, in
    a thread of its own.

    A method that is cancelled is carried out all the same, and before whatever is asked next; only
    `intent` is then taken back, since nothing can have been sent for it.

    After a write has failed, the method and all that follow raise `JournalWriteError`; whether it
    took effect shows when the journal is opened again. Once its file or its lock was deleted,
    moved, replaced or cut, they raise `JournalLostError`, but for `created` and `done`, which
    record nothing then: what runs can still be waited for.

    A journal belongs to the event loop and the process that opened it; elsewhere, and when closed,
    methods raise `ClientStateError`.
    """

    def __init__(
        self, path: Path, header: JournalHeader, writer: Writer, *, by_key: bool = False
    ) -> None:
        self.path = path
        """Where the file is."""
        self.header: JournalHeader = header
        """What the journal belongs to, as it was written when it was made."""
        self._writer = writer
        self._by_key = by_key
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        header: JournalHeader,
        *,
        create: bool = True,
        by_key: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the journal at *path*, or make it if it is not there and *create* is true.

        Only one process can have it open. *clock* gives the seconds since 1970 at which results
        are recorded. With *by_key*, an item is the same under any digest.

        Raises `JournalLocked` when another run has it open, `JournalMismatch` when it belongs to
        another model, version or options, `JournalTooNew` when a newer version of this package
        made it, `JournalDamaged` when it is damaged or no journal, `JournalWriteError` when the
        disk fails, and `InvalidArgumentError` when there is none and none is to be made.
        """
        if not os.fspath(path):
            raise InvalidArgumentError("journal is empty: give the path of a file.")
        where = Path(os.path.realpath(path))  # noqa: ASYNC240 - looks at the names, not at data
        writer = Writer(where, header, create=create, clock=clock)
        try:
            there = await writer.opened
        except BaseException:
            writer.stop()
            raise
        return cls(where, there, writer, by_key=by_key)

    async def plan(self, items: Sequence[tuple[int, str, str]]) -> list[Entry]:
        """Add the *items* (index, key, digest) that are not there, and return all in their order.

        An item that is there under another index is moved; of a key that comes twice, the first
        index counts. Entries that are done come with their
        results, so plan in chunks. Raises `JournalMismatch`, and adds nothing, when a key is known
        with another digest; a journal that was opened *by_key* takes the new digest instead, but
        for an entry whose create may have been sent with the old one.
        """
        given = list(items)
        return await self._do(lambda table: table.plan(given, by_key=self._by_key))

    async def intent(self, key: str, at: float, window_start: float | None = None) -> None:
        """Record that a create is about to be sent, at *at* seconds since 1970; count an attempt.

        *window_start* is a time that the API's clock shows by now, if that is known. Send the
        create only after this has returned. When this is cancelled the entry stays planned.
        """
        call = self._submit(lambda table: table.intent(key, at, window_start))
        try:
            await call.future
        except asyncio.CancelledError:
            self._writer.revoke(call, lambda table: table.unsent(key))
            raise

    async def created(self, key: str, prediction_id: str) -> None:
        """Record the id of the prediction that was created, or found again."""
        await self._do(lambda table: table.created(key, prediction_id), optional=True)

    async def withdrawn(self, key: str) -> None:
        """Record that the create was refused for certain; the entry is planned again."""
        await self._do(lambda table: table.withdrawn(key))

    async def done(self, key: str, result: bytes) -> None:
        """Record *result*, which is the JSON of a prediction that has ended."""
        await self._do(lambda table: table.done(key, result), optional=True)

    async def uncertain(self, key: str, window_end: float | None = None) -> None:
        """Record that it is undecided whether a create happened.

        *window_end* is a time on the API's clock by which it is in the list if it did.
        """
        await self._do(lambda table: table.uncertain(key, window_end))

    async def set_latest_version(self, version: str) -> None:
        """Record the version that the model was found to have, for the next runs."""
        self.header = await self._do(lambda table: table.set_latest_version(version))

    async def retry(self, keys: Iterable[str]) -> None:
        """Make entries that are done or uncertain planned again; their results are forgotten.

        All of them or, when one cannot be, none.
        """
        given = [keys] if isinstance(keys, str) else list(keys)
        await self._do(lambda table: table.retry(given))

    async def again(self, key: str) -> None:
        """Make an entry planned again that was created, or is uncertain and was not.

        Its prediction, if it has one, is remembered as claimed.
        """
        await self._do(lambda table: table.again(key))

    async def resolve(self, key: str, prediction_id: str | None) -> None:
        """Record what the user found out about an undecided entry.

        It has the prediction *prediction_id*, or none and is planned again. Raises
        `InvalidArgumentError` for a key that is unknown or decided, and for a prediction that
        belongs or belonged to an entry.
        """
        await self._do(lambda table: table.resolve(key, prediction_id))

    async def claimed(self, ids: Iterable[str]) -> set[str]:
        """Return those of the prediction *ids* that belong or belonged to an entry."""
        given = list(ids)
        return await self._do(lambda table: table.claimed(given))

    async def get(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        return await self._do(lambda table: table.get(key))

    async def unresolved(self) -> list[Entry]:
        """Return the entries that may have a prediction whose id is not known, oldest first."""
        return await self._do(lambda table: table.unresolved())

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield the entries, or those in *state*, in index order.

        They are read a few megabytes at a time. One that changes meanwhile appears as it was or as
        it is.
        """
        after: tuple[int, int] | None = START
        while after is not None:
            entries, after = await self._do(partial(Table.page, after=after, state=state))
            for entry in entries:
                yield entry

    async def counts(self) -> Mapping[State, int]:
        """Return how many entries there are of each state."""
        return await self._do(lambda table: table.counts())

    async def aclose(self) -> None:
        """Finish what was asked, close the file and let others have it; again, it does nothing.

        When this is cancelled the journal closes all the same. Raises `JournalLostError` once the
        file is closed, when it was lost before.
        """
        self._check_place()
        closed, self._closed = self._closed, True
        if not closed:
            self._writer.stop()
        await asyncio.shield(self._writer.closed)
        if self._writer.lost is not None and not closed:
            raise self._writer.lost

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._closed and self._process == os.getpid():
            self._writer.stop()
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<Journal {str(self.path)!r}{' (closed)' if self._closed else ''}>"

    async def _do(self, work: Callable[[Table], T], *, optional: bool = False) -> T:
        return cast("T", await self._submit(work, optional=optional).future)

    def _submit(self, work: Callable[[Table], object], *, optional: bool = False) -> Call:
        self._check_place()
        if self._closed:
            raise ClientStateError(f"{self.path} is closed: open the journal again.")
        return self._writer.submit(work, optional=optional)

    def _check_place(self) -> None:
        if self._process != os.getpid():
            raise ClientStateError(
                f"{self.path} was opened before a fork: open a journal of its own in each process."
            )
        if self._loop is not asyncio.get_running_loop():
            raise ClientStateError(
                f"{self.path} was opened in another event loop: use the journal there, or close "
                "it there and open it here."
            )
