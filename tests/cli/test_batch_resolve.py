"""``batch resolve`` and what ``batch status`` says of it, as a program."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from tests.cli.program import run
from tests.runs.batch.journals import record

pytestmark = pytest.mark.anyio

MODEL = "replicate/hello-world"
HEADER = JournalHeader(model=MODEL)


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A journal of three items, of which two are uncertain."""
    path = tmp_path / "out.jsonl.journal"
    async with await Journal.open(path, HEADER) as opened:
        await opened.plan([(at, f"row {at}", "") for at in range(3)])
        for at in range(2):
            await record(opened, f"row {at}", "intent", time.time() - 1000)
            await record(opened, f"row {at}", "uncertain")
    return path


async def state_of(journal: Path, key: str) -> tuple[State, str | None]:
    async with await Journal.open(journal, HEADER) as opened:
        entry = await opened.get(key)
        assert entry is not None
        return entry.state, entry.prediction_id


async def test_status_names_uncertain_items_and_the_command(journal: Path) -> None:
    shown = await run("batch", "status", f"{journal}")
    as_json = await run("batch", "status", f"{journal}", "--json")

    assert shown.code == 0
    assert "uncertain\t2\n" in shown.out
    assert "Uncertain: 'row 0', 'row 1'." in shown.err
    assert f"batch resolve {journal} KEY --prediction ID, or --absent" in shown.err
    assert json.loads(as_json.out)["undecided"] == ["row 0", "row 1"]


async def test_an_item_is_decided_either_way(server: LocalReplicate, journal: Path) -> None:
    async with Replicate(server.api_token, base_url=server.url) as client:
        made = await client.predictions.create(MODEL, {"text": "Ada"}, wait=5)

    found = await run(
        "batch", "resolve", f"{journal}", "row 0", "--prediction", made.id, server=server
    )
    none = await run("batch", "resolve", f"{journal}", "row 1", "--absent")
    shown = await run("batch", "status", f"{journal}")

    assert (found.code, found.err) == (0, f"row 0: the next run waits for prediction {made.id}.\n")
    assert (none.code, none.err) == (0, "row 1: the next run creates it.\n")
    assert await state_of(journal, "row 0") == (State.CREATED, made.id)
    assert await state_of(journal, "row 1") == (State.PLANNED, None)
    assert "Uncertain" not in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("row 0",), 2, "Give either --prediction ID or --absent."),
        (("row 0", "--absent", "--prediction", "x"), 2, "Give either --prediction ID or --absent."),
        (("row 2", "--absent"), 1, "'row 2' is planned, so there is nothing to decide"),
        (("row 9", "--absent"), 1, "the journal has no item 'row 9'"),
        (("row 0", "--prediction", "nope"), 1, "there is no prediction 'nope'"),
    ],
)
async def test_a_wrong_decision_is_refused(
    server: LocalReplicate, journal: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = await run("batch", "resolve", f"{journal}", *arguments, server=server)

    assert ran.code == code
    assert said in ran.err


async def test_a_journal_that_is_in_use_is_refused(journal: Path) -> None:
    async with await Journal.open(journal, HEADER):
        ran = await run("batch", "resolve", f"{journal}", "row 0", "--absent")

    assert ran.code == 1
    assert "is in use by another run" in ran.err
