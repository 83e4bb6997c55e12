"""A list that shows inputs otherwise than they were sent, and one full of other runs."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replicate_async.runs.batch.journal import State
from tests.runs.batch.api import BatchAPI
from tests.runs.batch.resuming import Input, intents, run, states
from tests.support.replies import problem

pytestmark = pytest.mark.anyio

GIVEN: Input = {
    "prompt": "  Un caf\u00e9 noir,\r\nand a long way home  ",
    "scale": 7.654321,
    "steps": 30,
    "deep": {"list": [1, 2.5, "x "]},
}


def change(name: str, value: Callable[[Any], Any]) -> Callable[[Input], Input]:
    return lambda shown: {**shown, name: value(shown[name])}


ALTERED: dict[str, Callable[[Input], Input]] = {
    "a field dropped": lambda shown: {k: v for k, v in shown.items() if k != "steps"},
    "all but one dropped": lambda shown: {"steps": shown["steps"]},
    "a field added": lambda shown: {**shown, "seed": 7},
    "stripped": change("prompt", str.strip),
    "CRLF turned to LF": change("prompt", lambda text: text.replace("\r\n", "\n")),
    "normalised": change("prompt", lambda text: unicodedata.normalize("NFD", text)),
    "cut": change("prompt", lambda text: text[:10]),
    "cut with dots": change("prompt", lambda text: text[:10] + "..."),
    "rounded": change("scale", lambda number: round(number, 2)),
    "rounded to a whole number": change("scale", round),
    "stringified": lambda shown: {k: str(v) for k, v in shown.items()},
    "redacted": change("prompt", lambda _: "[REDACTED]"),
    "emptied": lambda _: {},
    "null": change("prompt", lambda _: None),
    "strings stripped and numbers rounded": lambda shown: {
        **shown,
        "prompt": shown["prompt"].strip(),
        "scale": 7.7,
    },
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def test_an_input_that_is_shown_otherwise_is_undecided(tmp_path: Path) -> None:
    async def said(number: int, how: Callable[[Input], Input]) -> object:
        journal = tmp_path / f"{number}.db"
        await intents(journal, [GIVEN])
        api = BatchAPI(altered=how)
        made = api.make(GIVEN)
        (result,) = await run(api, [GIVEN], journal)
        named = f"it may be {made.id}" in str(result.error)
        return api.creates, result.uncertain, named, await states(journal)

    found = await asyncio.gather(*(said(*each) for each in enumerate(ALTERED.values())))

    undecided = (0, True, True, {State.UNCERTAIN: 1})
    assert dict(zip(ALTERED, found, strict=True)) == dict.fromkeys(ALTERED, undecided)


async def test_an_exact_match_is_found_beside_one_that_is_not(journal: Path) -> None:
    await intents(journal, [GIVEN])
    api = BatchAPI()
    api.make({**GIVEN, "prompt": GIVEN["prompt"].strip()})
    exact = api.make(GIVEN)

    (result,) = await run(api, [GIVEN], journal)

    assert result.prediction is not None
    assert result.prediction.id == exact.id
    assert api.creates == 0


async def test_what_another_item_turns_out_to_own_is_no_suspect(journal: Path) -> None:
    """The second prompt is the beginning of the first, whose prediction is in the list."""
    given: list[Input] = [{"prompt": "a red fox that runs"}, {"prompt": "a red fox"}]
    await intents(journal, given)
    api = BatchAPI()
    api.make(given[0])

    results = await run(api, given, journal)

    assert all(result.ok for result in results), [str(each.error) for each in results]
    assert [made.input for made in api.made] == given


async def test_a_suspect_of_before_the_create_is_none(journal: Path) -> None:
    await intents(journal, [GIVEN])
    api = BatchAPI(altered=ALTERED["stripped"])
    api.make(GIVEN).created_at -= 60

    (result,) = await run(api, [GIVEN], journal)

    assert result.ok
    assert api.creates == 1


async def test_other_runs_of_the_model_leave_few_creates_undecided(journal: Path) -> None:
    """1,000 of them in the window, while the API loses 30 creates that did not happen."""
    given: list[Input] = [{"prompt": f"{n:04} of ours", "n": n, "scale": n / 7} for n in range(60)]
    api = BatchAPI()
    api.refuse = lambda number: problem(502) if number % 2 and number < 60 else None
    for n in range(1000):
        api.make({"prompt": f"{n:04} of another", "n": 1000 + n, "scale": n / 9})

    results = await run(api, given, journal)

    assert all(result.ok for result in results), [str(each.error) for each in results]
    assert [each.output for each in results] == given
    assert len(api.made) == 1060
    assert api.creates == 90
