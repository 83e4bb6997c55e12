"""The journal of an open batch.

It is one SQLite file of mode 0600, with keys, digests and results, and without the API token. It
has the inputs of creates whose outcomes are open, and overwrites them when the outcomes are known.
The intent of a create is on disk before the create is sent, so that a resume knows of every
prediction that may exist.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import msgspec

from replicate_async.errors import ClientStateError, JournalLostError
from replicate_async.runs.batch.journal.entry import Entry, JournalHeader, State
from replicate_async.runs.batch.journal.file import MEMORY, JournalFile, Work
from replicate_async.runs.batch.journal.store import Store

P = ParamSpec("P")
T = TypeVar("T")


class Journal:
    """A batch's journal, open for writing by this process alone.

    When a method returns, its data survives a crash of the process or of the system, and a loss of
    power. Calls that arrive during a commit are committed together, in a thread.

    A cancelled method takes effect all the same, before the methods that are called next; only an
    intent is then taken back, because its create was not sent.

    After a failed write, the method and all later ones raise `JournalWriteError`; the journal has
    to be opened again to see what was written. After its file or lock was deleted, moved, replaced
    or cut they raise `JournalLostError`, but for `record` of a prediction, result or value, which
    then records nothing: predictions that run can still be awaited.

    A journal belongs to the event loop that opened it, as its batch does. In a forked process, and
    when it is closed, methods raise `ClientStateError`.
    """

    def __init__(self, path: Path, file: JournalFile, thread: futures.Executor) -> None:
        self.path: Path = path
        """Where the file is."""
        self.header: JournalHeader = file.header
        """The run that the journal belongs to."""
        self._file = file
        self._thread = thread
        self._calls: deque[tuple[Work, asyncio.Future[Any]]] = deque()
        """Calls for the next commit."""
        self._closing: futures.Future[None] | None = None
        self._process = os.getpid()

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str] | None,
        header: JournalHeader | None = None,
        *,
        create: bool = True,
    ) -> Self:
        """Open the journal at *path*, or make it if it is missing and *create* is true.

        Without a *header*, it may be of any run, and is not made.
        Without a path it is in memory, and forgets entries that are done.

        Raises:
            JournalLockedError: another run has it open.
            JournalMismatchError: it belongs to another model, version or options.
            JournalTooNewError: a newer version of this package made it.
            JournalDamagedError: it is damaged, or no journal.
            JournalWriteError: the disk fails.
            InvalidArgumentError: it is missing, and *create* is false.
        """
        where = MEMORY if path is None else Path(os.path.realpath(path))  # noqa: ASYNC240 - looks at the names, not at data
        thread = futures.ThreadPoolExecutor(1, f"journal {where.name}")
        opening = thread.submit(JournalFile, where, header, create=create)
        try:
            file = await asyncio.wrap_future(opening)
        except BaseException:
            thread.submit(lambda: opening.result().close())
            thread.shutdown(wait=False)
            raise
        return cls(where, file, thread)

    @property
    def persistent(self) -> bool:
        """Whether it is a file, which a later run can resume."""
        return self.path != MEMORY

    async def plan(self, items: Sequence[tuple[int, str, str]]) -> list[Entry]:
        """Add the *items* (index, key, digest) that are missing, and return all in their order.

        A known item moves to its new index.
        Entries that are done come with their results: plan a few hundred at a time. Raises
        `JournalMismatchError`, and adds nothing, when a key is known with another digest. An empty
        digest is that of any input.
        """
        return await self._call(Store.plan, list(items))

    async def record(self, entry: Entry) -> None:
        """Write *entry*, which an `Entry` method made of the current one.

        Send a create only after its intent is recorded. When the record of an intent is cancelled,
        the entry is planned again. Raises `ClientStateError` when the state cannot follow the
        stored one (see `TRANSITIONS`).
        """
        try:
            await self._call(Store.record, entry)
        except JournalLostError:
            if entry.state not in (State.CREATED, State.DONE, State.FINISHED):
                raise
        except asyncio.CancelledError:
            if entry.state is State.INTENT and self._closing is None:
                self._call(Store.take_back, entry).cancel()
            raise

    async def set_latest_version(self, version: str) -> None:
        """Record the version that the model was found to have, for later runs."""
        header = msgspec.structs.replace(self.header, latest_version=version)
        await self._call(Store.set_header, header)
        self.header = header

    async def claimed(self, ids: Iterable[str]) -> set[str]:
        """Return those of the prediction *ids* that belong or belonged to an entry."""
        return await self._call(Store.claimed, list(ids))

    async def get(self, key: str) -> Entry | None:
        """Return the entry of *key*, or None."""
        return await self._call(Store.get, key)

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield the entries, or those in *state*, in index order, read a few megabytes at a time.

        An entry that changes meanwhile comes as it was or as it is.
        """
        last: Entry | None = None
        while page := await self._call(Store.page, last, state):
            for entry in page:
                yield entry
            last = page[-1]

    async def aclose(self) -> None:
        """Finish all calls, close the file and release the lock; can be called again.

        A cancelled close takes effect all the same. Raises `JournalLostError`, once the file is
        closed, when the journal was lost before.
        """
        self._check_process()
        closed = self._closing is not None
        await asyncio.shield(asyncio.wrap_future(self._close()))
        if isinstance(self._file.broken, JournalLostError) and not closed:
            raise self._file.broken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._closing is None and self._process == os.getpid():
            with suppress(RuntimeError):  # the interpreter ends
                self._close()
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<Journal {str(self.path)!r}{'' if self._closing is None else ' (closed)'}>"

    def _call(
        self, method: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Queue a call for the next commit, and return the future of its value."""
        self._check_process()
        if self._closing is not None:
            raise ClientStateError(f"{self.path} is closed: open the journal again.")
        future = asyncio.get_running_loop().create_future()
        self._calls.append((lambda store: method(store, *args, **kwargs), future))
        if len(self._calls) == 1:  # else the commit of the first takes all
            self._thread.submit(_commit, self._file, self._calls)
        return future

    def _close(self) -> futures.Future[None]:
        if self._closing is None:
            self._closing = self._thread.submit(self._file.close)
            self._thread.shutdown(wait=False)
        return self._closing

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise ClientStateError(
                f"{self.path} was opened before a fork: open a journal of its own in each process."
            )


def _commit(file: JournalFile, calls: deque[tuple[Work, asyncio.Future[Any]]]) -> None:
    """Commit the *calls* that have arrived. An earlier job may have committed all of them."""
    group: list[tuple[Work, asyncio.Future[Any]]] = []
    while calls:  # until there are none: the next one that arrives has a job of its own
        group.append(calls.popleft())
    if group:
        outcomes = file.commit([work for work, _ in group])
        answers = [future for _, future in group]
        with suppress(RuntimeError):  # the event loop is closed
            answers[0].get_loop().call_soon_threadsafe(_answer, answers, outcomes)


def _answer(calls: list[asyncio.Future[Any]], outcomes: list[object]) -> None:
    for future, outcome in zip(calls, outcomes, strict=True):
        if future.done():  # it was cancelled
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
