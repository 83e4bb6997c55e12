"""The journal: entries, commits, cancellation, threads and processes."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Final, cast

import pytest

from replicate_async.errors import (
    ClientStateError,
    InvalidArgumentError,
    JournalLockedError,
    JournalMismatchError,
)
from replicate_async.runs.batch.journal import Entry, Journal, State
from replicate_async.runs.batch.journal.reader import status
from tests.runs.batch.journals import HEADER, ITEMS, RESULT, entries, record
from tests.support.cancel_sweep import cancel_sweep
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio


async def test_an_entry_goes_from_planned_to_done(journal: Journal) -> None:
    planned = await journal.plan(ITEMS)
    assert [(e.index, e.key, e.digest) for e in planned] == ITEMS
    assert {(e.state, e.attempt, e.intent_at, e.prediction_id, e.result) for e in planned} == {
        (State.PLANNED, 0, None, None, None)
    }

    await record(journal, "key 1", "intent", 50.5)
    (begun,) = await entries(journal, State.INTENT)
    assert (begun.key, begun.state, begun.attempt, begun.intent_at) == ("key 1", "intent", 1, 50.5)

    await record(journal, "key 1", "created", "p1")
    assert await entries(journal, State.INTENT) == []
    await record(journal, "key 1", "done", RESULT)
    done = await journal.get("key 1")
    assert done is not None
    assert (done.state, done.prediction_id, done.result) == (State.DONE, "p1", RESULT)

    await record(journal, "key 1", "finished", b"[1]")
    finished = await journal.get("key 1")
    assert finished is not None
    assert (finished.state, finished.result, finished.value) == (State.FINISHED, RESULT, b"[1]")


async def test_an_open_create_has_its_input_and_no_other_entry_has(journal: Journal) -> None:
    await journal.plan(ITEMS)
    kept: list[bytes | None] = []
    for key, step in (("key 1", "created"), ("key 2", "reset"), ("key 3", "uncertain")):
        await record(journal, key, "intent", 1.0, 1.0, b"{}")
        await record(journal, key, step, *(["p1"] if step == "created" else []))
        kept += [each.sent for each in await entries(journal) if each.key == key]

    assert kept == [None, None, b"{}"]


async def test_a_reopened_journal_has_all_entries(path: Path) -> None:
    async with await Journal.open(path, HEADER) as journal:
        await journal.plan(ITEMS)
        await record(journal, "key 0", "intent", 1.0)
        await record(journal, "key 0", "created", "p0")
        await record(journal, "key 1", "intent", 2.0)
        await record(journal, "key 2", "done", RESULT)
        before = await entries(journal)

    async with await Journal.open(path, HEADER) as journal:
        assert journal.header == HEADER
        assert await journal.plan(ITEMS) == before
        assert await entries(journal) == before


async def test_a_closed_journal_is_one_file_with_mode_0600(path: Path) -> None:
    async with await Journal.open(path, HEADER) as journal:
        await journal.plan(ITEMS)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes == {0o600}
    assert [file.name for file in path.parent.iterdir()] == ["run.db"]


async def test_a_create_that_did_not_happen_is_no_attempt(
    journal: Journal,
) -> None:
    await journal.plan(ITEMS)
    for at in (1.0, 2.0):
        await record(journal, "key 3", "intent", at)
        await record(journal, "key 3", "reset")

    entry = await journal.get("key 3")

    assert entry is not None
    assert (entry.state, entry.attempt, entry.intent_at) == (State.PLANNED, 0, None)


async def test_done_and_uncertain_entries_can_be_reset(journal: Journal) -> None:
    await journal.plan(ITEMS)
    await record(journal, "key 0", "intent", 1.0)
    await record(journal, "key 0", "uncertain")
    await record(journal, "key 1", "intent", 2.0)
    await record(journal, "key 1", "created", "p1")
    await record(journal, "key 1", "done", RESULT)

    await record(journal, "key 0", "reset")
    await record(journal, "key 1", "reset")

    tried = (await entries(journal))[:2]
    assert [(e.state, e.prediction_id, e.result, e.attempt) for e in tried] == [
        (State.PLANNED, None, None, 0),
        (State.PLANNED, None, None, 1),
    ]
    assert await journal.claimed(["p0", "p1"]) == {"p1"}


async def test_the_prediction_of_a_reset_entry_stays_claimed(journal: Journal) -> None:
    await journal.plan(ITEMS)
    await record(journal, "key 0", "intent", 1.0)
    await record(journal, "key 0", "created", "p0")
    await record(journal, "key 0", "reset")
    await record(journal, "key 0", "intent", 2.0)
    await record(journal, "key 0", "created", "p1")

    assert await journal.claimed(f"p{number}" for number in range(1000)) == {"p0", "p1"}


async def test_an_uncertain_entry_can_become_created(journal: Journal) -> None:
    await journal.plan(ITEMS)
    await record(journal, "key 0", "intent", 1.0)
    await record(journal, "key 0", "uncertain")
    await record(journal, "key 0", "created", "p0")

    assert [entry.prediction_id for entry in await entries(journal, State.CREATED)] == ["p0"]


async def test_a_transition_that_is_not_in_the_table_is_refused(journal: Journal) -> None:
    await journal.plan(ITEMS)
    await record(journal, "key 0", "intent", 1.0)
    await record(journal, "key 0", "created", "p0")
    before = await entries(journal)

    with pytest.raises(ClientStateError, match="'key 0' is created: it cannot be intent"):
        await record(journal, "key 0", "intent", 2.0)
    with pytest.raises(ClientStateError, match="it cannot be created"):
        await record(journal, "key 0", "created", "another")
    with pytest.raises(ClientStateError):
        await record(journal, "key 1", "reset")
    with pytest.raises(ClientStateError):
        await record(journal, "key 1", "uncertain")
    with pytest.raises(ClientStateError):
        await record(journal, "key 1", "reset")
    with pytest.raises(InvalidArgumentError, match="does not know 'other': plan it first"):
        await journal.record(Entry(key="other", digest="d", index=9).intent(2.0))

    assert await entries(journal) == before


async def test_a_key_with_another_input_is_refused_and_nothing_is_added(journal: Journal) -> None:
    await journal.plan(ITEMS)

    with pytest.raises(JournalMismatchError, match="knows 'key 1' with another input"):
        await journal.plan([(0, "new", "d"), (1, "key 1", "changed")])
    with pytest.raises(JournalMismatchError, match="knows 'twice' with another input"):
        await journal.plan([(0, "twice", "d"), (1, "twice", "changed")])

    assert sum(status(journal.path).counts.values()) == len(ITEMS)


async def test_an_input_that_moved_is_the_same(journal: Journal) -> None:
    await journal.plan(ITEMS)
    await record(journal, "key 4", "intent", 1.0)

    moved = await journal.plan([(0, "key 4", "digest 4"), (4, "key 0", "digest 0")])

    assert [(entry.index, entry.state) for entry in moved] == [(0, "intent"), (4, "planned")]
    assert [e.key for e in await entries(journal)] == [f"key {n}" for n in (4, 1, 2, 3, 0)]


async def test_a_key_twice_in_one_plan_is_one_entry(journal: Journal) -> None:
    first, second = await journal.plan([(0, "key", "d"), (1, "key", "d")])

    assert (first.index, second.index) == (0, 1)
    assert await entries(journal) == [second]


async def test_many_entries_come_in_order_and_in_parts(journal: Journal) -> None:
    items = [(index, f"key {index}", "d") for index in range(2_345)]
    planned = await journal.plan(items[::-1])
    large = b'"' + b"x" * 5_000_000 + b'"'
    for index in (3, 4, 5, 2_344):
        await record(journal, f"key {index}", "done", large)

    found = await entries(journal)

    assert [entry.index for entry in planned] == list(range(2_345))[::-1]
    assert [entry.index for entry in found] == list(range(2_345))
    assert [entry.index for entry in found if entry.result == large] == [3, 4, 5, 2_344]
    assert [entry.index for entry in await entries(journal, State.DONE)] == [3, 4, 5, 2_344]


async def test_more_entries_may_be_open_than_are_kept_in_memory(journal: Journal) -> None:
    items = [(index, f"key {index}", "digest") for index in range(20_050)]
    for start in range(0, len(items), 10_000):
        await journal.plan(items[start : start + 10_000])

    for key in ("key 0", "key 20049", "key 19999"):
        await record(journal, key, "intent", 1.0)

    assert status(journal.path).counts[State.INTENT] == 3


async def test_counts_follow_every_step(journal: Journal) -> None:
    await journal.plan(ITEMS)
    assert status(journal.path).counts == {state: 5 * (state is State.PLANNED) for state in State}
    await journal.plan([(5, "key 5", "d")])
    await record(journal, "key 0", "intent", 1.0)
    await record(journal, "key 1", "done", RESULT)

    assert status(journal.path).counts == {
        State.PLANNED: 4,
        State.INTENT: 1,
        State.CREATED: 0,
        State.DONE: 1,
        State.FINISHED: 0,
        State.UNCERTAIN: 0,
    }


async def test_calls_that_arrive_together_share_a_commit(journal: Journal, path: Path) -> None:
    items = [(index, f"key {index}", "d") for index in range(2_500)]
    planned = await journal.plan(items)
    await asyncio.gather(*(journal.record(entry.intent(1.0)) for entry in planned))
    frames = (path.parent / "run.db-wal").stat().st_size

    assert status(journal.path).counts[State.INTENT] == 2_500
    assert frames < 2_500 * 4096  # one commit each would have written more


async def test_a_value_that_cannot_be_stored_fails_only_its_own_call(journal: Journal) -> None:
    planned = await journal.plan(ITEMS)

    outcomes = await asyncio.gather(
        journal.record(planned[0].intent(1.0)),
        journal.plan([(2**70, "far", "d")]),
        journal.plan([(0, "\ud800", "d")]),
        journal.record(cast("Entry", None)),
        journal.record(planned[1].intent(2.0)),
        return_exceptions=True,
    )

    assert outcomes[0] is None
    assert outcomes[4] is None
    assert isinstance(outcomes[3], AttributeError)
    for refused in outcomes[1:3]:
        assert isinstance(refused, InvalidArgumentError)
    assert [entry.key for entry in await entries(journal, State.INTENT)] == ["key 0", "key 1"]
    assert len(await entries(journal)) == len(ITEMS)


# Whose it is.


async def test_a_closed_journal_raises(path: Path) -> None:
    journal = await Journal.open(path, HEADER)
    last = asyncio.create_task(journal.plan(ITEMS))
    await asyncio.sleep(0)
    await journal.aclose()
    await journal.aclose()

    assert len(await last) == 5
    with pytest.raises(ClientStateError, match="is closed: open the journal again"):
        await journal.plan([])
    assert repr(journal) == f"<Journal {str(path)!r} (closed)>"


FORK: Final = """
import asyncio, os, sys
from replicate_async.errors import ClientStateError
from replicate_async.runs.batch.journal import Journal, JournalHeader

async def main():
    journal = await Journal.open(sys.argv[1], JournalHeader(model="acme/painter"))
    await journal.plan([(0, "key", "digest")])
    child = os.fork()
    if child == 0:
        try:
            await journal.plan([])
        except ClientStateError as error:
            os.write(1, f"in the child: {error}\\n".encode())
        sys.stdin.read()
        os._exit(0)
    os.write(1, b"closing\\n")
    await journal.aclose()
    again = await Journal.open(sys.argv[1], JournalHeader(model="acme/painter"))
    await again.aclose()
    os.write(1, b"opened again\\n")

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which Windows has not")
async def test_a_forked_child_can_neither_use_nor_lock_the_journal(path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(path)]
    runner = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert runner.stdout is not None
    said = {(await runner.stdout.readline()).decode() for _ in range(3)}
    await runner.communicate(b"")

    refused = f"{path} was opened before a fork: open a journal of its own in each process."
    assert said == {"closing\n", "opened again\n", f"in the child: {refused}\n"}


async def test_an_unclosed_journal_is_released_with_a_warning(path: Path) -> None:
    journal = await Journal.open(path, HEADER)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del journal

    async with await once_let_go(path) as again:
        assert await entries(again) == []


async def once_let_go(path: Path) -> Journal:
    while True:
        try:
            return await Journal.open(path, HEADER)
        except JournalLockedError:
            await asyncio.sleep(0.002)


async def test_a_loop_that_ends_early_leaves_no_thread(path: Path) -> None:
    opened: list[Journal] = []

    async def forget_to_close() -> None:
        opened.append(await Journal.open(path, HEADER))

    def elsewhere() -> None:
        asyncio.run(forget_to_close())

    await asyncio.to_thread(elsewhere)
    with pytest.warns(ResourceWarning):
        opened.clear()
    for thread in threading.enumerate():
        if thread.name.startswith("journal"):
            await asyncio.to_thread(thread.join, HANG)
            assert not thread.is_alive()


async def test_a_cancelled_intent_did_not_happen(journal: Journal) -> None:
    planned = await journal.plan(ITEMS)
    for yields in range(20):
        task = asyncio.create_task(journal.record(planned[0].intent(1.0)))
        for _ in range(yields):
            await asyncio.sleep(0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)

        entry = await journal.get("key 0")

        assert entry is not None
        if outcome is None:  # it had returned before the cancel came
            assert entry.state is State.INTENT
            break
        assert isinstance(outcome, asyncio.CancelledError)
        assert (entry.state, entry.attempt) == (State.PLANNED, 0)


async def test_an_intent_that_is_cancelled_once_committed_is_taken_back(journal: Journal) -> None:
    planned = await journal.plan(ITEMS)
    task = asyncio.create_task(journal.record(planned[0].intent(1.0)))
    await asyncio.sleep(0)
    while not status(journal.path).counts[State.INTENT]:  # which keeps the loop from telling it
        pass
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    entry = await journal.get("key 0")

    assert entry is not None
    assert (entry.state, entry.attempt, entry.intent_at) == (State.PLANNED, 0, None)


async def test_a_cancelled_intent_that_is_refused_takes_back_no_earlier_one(
    journal: Journal,
) -> None:
    planned = await journal.plan(ITEMS)
    await journal.record(planned[0].intent(1.0))
    task = asyncio.create_task(journal.record(planned[0].intent(2.0)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    entry = await journal.get("key 0")

    assert entry is not None
    assert (entry.state, entry.attempt, entry.intent_at) == (State.INTENT, 1, 1.0)


async def test_a_cancelled_record_of_a_prediction_takes_effect(journal: Journal) -> None:
    planned = await journal.plan(ITEMS)
    begun = planned[0].intent(1.0)
    await journal.record(begun)
    task = asyncio.create_task(journal.record(begun.created("p0")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    entry = await journal.get("key 0")

    assert entry is not None
    assert entry.prediction_id == "p0"


async def test_a_cancel_leaves_nothing_behind(path: Path) -> None:
    async def scenario() -> None:
        # A run that was cancelled may still be closing it.
        async with await once_let_go(path) as journal:
            begun = (await journal.plan(ITEMS))[0].intent(1.0)
            await journal.record(begun)
            await journal.record(begun.reset())
            async for _ in journal.entries():
                pass

    (await cancel_sweep(scenario)).assert_clean()


async def test_neither_inputs_nor_the_token_are_in_the_file(path: Path) -> None:
    async with await Journal.open(path, HEADER) as journal:
        await journal.plan(ITEMS)
        await record(journal, "key 0", "done", RESULT)
        held = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert b"digest 0" in held
    assert TOKEN.encode() not in held
