"""The journal compared with a dictionary, through random steps."""

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

from replicate_async.errors import ClientStateError, InvalidArgumentError, JournalMismatchError
from replicate_async.runs.batch.journal import Entry, Journal, JournalHeader, State
from replicate_async.runs.batch.journal.reader import read, status

T = TypeVar("T")

HEADER: Final = JournalHeader(model="acme/painter")
KEYS: Final = st.sampled_from(["a", "b", "c", "", "\0", "a\0b", "\U0001f98a"])
DIGESTS: Final = st.sampled_from(["d"] * 9 + ["other"])
RESULTS: Final = (st.binary(max_size=50) | st.integers(0, 40_000).map(bytes)).map(
    lambda data: msgspec.json.encode({"data": data})
)
ITEMS: Final = st.lists(st.tuples(st.integers(0, 2**63 - 1), KEYS, DIGESTS), max_size=6)
STEPS: Final = {
    "intent": {State.PLANNED},
    "created": {State.INTENT, State.UNCERTAIN},
    "done": {State.PLANNED, State.CREATED},
    "finished": {State.DONE},
    "uncertain": {State.INTENT, State.UNCERTAIN},
    "reset": set(State) - {State.PLANNED},
}
"""The methods of an entry, and the states from which the journal accepts their results."""


class JournalMachine(RuleBasedStateMachine):
    """A journal that is closed and opened at times, and its expected entries."""

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
        new, returned = dict(self.expected), list[Entry]()
        for index, key, digest in items:
            known = new.get(key)
            if known is None:
                new[key] = Entry(key=key, digest=digest, index=index, state=State.PLANNED)
            elif known.digest != digest:
                try:
                    self.run(self.journal.plan(items))
                except JournalMismatchError:
                    return
                raise AssertionError("another input was taken for the same")
            else:
                new[key] = msgspec.structs.replace(known, index=index)
            returned.append(new[key])
        planned = self.run(self.journal.plan(items))
        self.expected = new
        assert planned == returned

    @rule(
        key=KEYS,
        step=st.sampled_from(sorted(STEPS)),
        data=RESULTS | st.none(),
        at=st.floats(0, 2e9),
    )
    def take(self, key: str, step: str, data: bytes | None, at: float) -> None:
        entry = self.expected.get(key)
        changed = self.changed(step, entry or Entry(key=key, digest="d", index=0), data, at)
        try:
            self.run(self.journal.record(changed))
        except InvalidArgumentError:
            assert entry is None
        except ClientStateError:
            assert entry is not None
            assert entry.state not in STEPS[step]
        else:
            assert entry is not None
            assert entry.state in STEPS[step]
            self.expected[key] = changed
            if changed.prediction_id is not None:
                self.claimed.add(changed.prediction_id)

    def changed(self, step: str, entry: Entry, data: bytes | None, at: float) -> Entry:
        self.ids += 1
        match step:
            case "intent":
                return entry.intent(at, None, data)
            case "created":
                return entry.created(f"p{self.ids}")
            case "done":
                return entry.done(data or b"{}")
            case "finished":
                return entry.finished(data)
            case "uncertain":
                return entry.uncertain(at)
            case _:
                return entry.reset()

    @rule(key=KEYS, turns=st.integers(0, 3))
    def cancel_an_intent(self, key: str, turns: int) -> None:
        begun = (self.expected.get(key) or Entry(key=key, digest="d", index=0)).intent(1.0)

        async def cancelled() -> bool:
            task = asyncio.create_task(self.journal.record(begun))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            return outcome is not None

        if not self.run(cancelled()):
            self.expected[key] = begun

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
        assert counts == status(self.path).counts
        intents = self.run(self.all_entries(State.INTENT))
        assert intents == [e for e in found if e.state is State.INTENT]
        ids = [f"p{number}" for number in range(self.ids + 1)]
        assert self.run(self.journal.claimed(ids)) == self.claimed

    async def all_entries(self, state: State | None = None) -> list[Entry]:
        return [entry async for entry in self.journal.entries(state)]


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
