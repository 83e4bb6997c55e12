"""The journal against a dictionary that does what it says, through any steps in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from replicate_async.errors import ClientStateError, InvalidArgumentError, JournalMismatch
from replicate_async.runs.batch.journal import Entry, Journal, JournalHeader, State
from replicate_async.runs.batch.journal_status import read, status

T = TypeVar("T")

HEADER: Final = JournalHeader(model="acme/painter")
KEYS: Final = st.sampled_from(["a", "b", "c", "", "\0", "a\0b", "\U0001f98a"])
DIGESTS: Final = st.sampled_from(["d"] * 9 + ["other"])
RESULTS: Final = st.binary(max_size=50) | st.integers(0, 40_000).map(bytes)
ITEMS: Final = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), KEYS, DIGESTS), max_size=6)
FROM: Final = {
    "intent": {State.PLANNED},
    "created": {State.INTENT, State.UNCERTAIN},
    "withdrawn": {State.INTENT},
    "done": set(State) - {State.DONE},
    "uncertain": {State.INTENT, State.CREATED, State.UNCERTAIN},
    "retry": {State.PLANNED, State.DONE, State.UNCERTAIN},
    "again": {State.CREATED, State.UNCERTAIN},
}


class JournalMachine(RuleBasedStateMachine):
    """A journal that is closed and opened at times, and what should be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "run.db"
        self.runner = asyncio.Runner()
        self.expected: dict[str, Entry] = {}
        self.journal = self.run(Journal.open(self.path, HEADER))
        self.ids = 0
        self.claimed: set[str] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        try:
            self.compare()
        finally:
            self.run(self.journal.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)

    @rule(items=ITEMS)
    def plan(self, items: list[tuple[int, str, str]]) -> None:
        new, seen = dict(self.expected), set[str]()
        for index, key, digest in items:
            known = new.get(key)
            if known is None:
                new[key] = Entry(key=key, digest=digest, index=index, state=State.PLANNED)
            elif known.digest != digest:
                try:
                    self.run(self.journal.plan(items))
                except JournalMismatch:
                    return
                raise AssertionError("another input was taken for the same")
            elif key not in seen:
                new[key] = msgspec.structs.replace(known, index=index)
            seen.add(key)
        planned = self.run(self.journal.plan(items))
        self.expected = new
        assert planned == [new[key] for _, key, _ in items]

    @rule(key=KEYS, step=st.sampled_from(sorted(FROM)), result=RESULTS, at=st.floats(0, 2e9))
    def take(self, key: str, step: str, result: bytes, at: float) -> None:
        entry = self.expected.get(key)
        try:
            self.run(self.step(step, key, result, at))
        except InvalidArgumentError:
            assert entry is None
        except ClientStateError:
            assert entry is not None
            assert entry.state not in FROM[step]
        else:
            assert entry is not None
            assert entry.state in FROM[step]
            self.expected[key] = self.after(step, entry, result, at)

    def step(self, step: str, key: str, result: bytes, at: float) -> Coroutine[Any, Any, None]:
        self.ids += 1
        match step:
            case "intent":
                return self.journal.intent(key, at)
            case "created":
                return self.journal.created(key, f"p{self.ids}")
            case "done":
                return self.journal.done(key, result)
            case "retry":
                return self.journal.retry([key])
            case _:
                plain: Coroutine[Any, Any, None] = getattr(self.journal, step)(key)
                return plain

    def after(self, step: str, entry: Entry, result: bytes, at: float) -> Entry:
        def changed(**changes: object) -> Entry:
            return msgspec.structs.replace(entry, **changes)

        match step:
            case "intent":
                return changed(state=State.INTENT, attempt=entry.attempt + 1, intent_at=at)
            case "created":
                self.claimed.add(f"p{self.ids}")
                return changed(state=State.CREATED, prediction_id=f"p{self.ids}")
            case "done":
                return changed(state=State.DONE, result=result)
            case "uncertain":
                return changed(state=State.UNCERTAIN)
            case "withdrawn":
                return changed(state=State.PLANNED, intent_at=None)
            case _:
                return changed(state=State.PLANNED, intent_at=None, prediction_id=None, result=None)

    @rule(key=KEYS, turns=st.integers(0, 3))
    def cancel_an_intent(self, key: str, turns: int) -> None:
        async def cancelled() -> bool:
            task = asyncio.create_task(self.journal.intent(key, 1.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            return outcome is not None

        if not self.run(cancelled()):
            self.expected[key] = self.after("intent", self.expected[key], b"", 1.0)

    @rule()
    def open_again(self) -> None:
        self.run(self.journal.aclose())
        self.journal = self.run(Journal.open(self.path, HEADER, create=False))

    @precondition(lambda self: bool(self.expected))
    @rule()
    def compare(self) -> None:
        found = self.run(self.all_entries())
        assert {entry.key: entry for entry in found} == self.expected
        assert len(found) == len(self.expected)
        assert [entry.index for entry in found] == sorted(entry.index for entry in found)
        assert [entry for entries in read(self.path) for entry in entries] == found
        counts = {state: sum(e.state is state for e in found) for state in State}
        assert self.run(self.journal.counts()) == counts == status(self.path).counts
        intents = self.run(self.journal.unresolved())
        assert {e.key for e in intents} == {e.key for e in found if e.state is State.INTENT}
        assert [e.intent_at for e in intents] == sorted(e.intent_at or 0 for e in intents)
        ids = [f"p{number}" for number in range(self.ids + 1)]
        assert self.run(self.journal.claimed(ids)) == self.claimed

    async def all_entries(self) -> list[Entry]:
        return [entry async for entry in self.journal.entries()]


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
