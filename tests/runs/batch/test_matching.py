"""No way in which a list may show inputs leads to a wrong match, or to a second create."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest

from replicate_async.core.api_clock import ApiClock, moment
from replicate_async.runs.batch.journal import Entry
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.lost_creates.comparison import ComparedInput, WholeFields
from replicate_async.runs.batch.lost_creates.lost_create import LostCreate
from replicate_async.runs.batch.lost_creates.matching import Candidate, certain_matches
from replicate_async.runs.batch.lost_creates.sent_input import canonical
from tests.runs.batch.api import SOON
from tests.runs.batch.resuming import Input, sent_as

pytestmark = pytest.mark.anyio


def texts(change: Callable[[str], Any]) -> Callable[[Input], Any]:
    return lambda given: map_leaves(given, lambda leaf: _if(str, leaf, change))


def numbers(change: Callable[[float], Any]) -> Callable[[Input], Any]:
    return lambda given: map_leaves(given, lambda leaf: _if(int | float, leaf, change))


def _if(kind: Any, leaf: Any, change: Callable[[Any], Any]) -> Any:
    return change(leaf) if isinstance(leaf, kind) and not isinstance(leaf, bool) else leaf


def without(name: str) -> Callable[[Input], Input]:
    return lambda given: {key: value for key, value in given.items() if key != name}


ALTERATIONS: Final[dict[str, Callable[[Input], Any]]] = {
    "none": lambda given: given,
    "cut to 3": texts(lambda text: text[:3]),
    "cut to 8": texts(lambda text: text[:8]),
    "cut to 8 bytes": texts(lambda text: text.encode()[:8].decode(errors="ignore")),
    "cut with dots": texts(lambda text: text[:6] + "..." if len(text) > 6 else text),
    "cut in the middle": texts(lambda text: text if len(text) < 8 else f"{text[:3]}…{text[-4:]}"),
    "the first line": texts(lambda text: text.partition("\n")[0]),
    "stripped": texts(str.strip),
    "in one line": texts(lambda text: " ".join(text.split())),
    "composed": texts(lambda text: unicodedata.normalize("NFC", text)),
    "in lower case": texts(str.lower),
    "rounded": numbers(lambda number: round(number, 1)),
    "rounded to whole": numbers(round),
    "cut to whole": numbers(math.floor),
    "as text": numbers(str),
    "9 digits": numbers(lambda number: float(f"{number:.9g}")),
    "a field dropped": without("n"),
    "a field added": lambda given: {"seed": 7, **given},
    "hidden": lambda given: {**given, "prompt": "[REDACTED]"},
    "null": lambda given: {**given, "prompt": None},
    "removed": lambda _: {},
}


def each_otherwise(given: Input) -> Any:
    """Show each input in another way."""
    ways = list(ALTERATIONS.values())
    return ways[len(str(given)) % (len(ways) - 1)](given)


ALTERATIONS["each otherwise"] = each_otherwise
WORDS: Final = ["a", "red", "fox", "Cafe\u0301", "(more)", "...", "12", "7.5", "\n"]


def random_input(random: Random) -> Input:
    number = random.choice(
        [random.randrange(30), random.randrange(99) / 8, random.randrange(10**10)]
    )
    prompt = " ".join(random.choices(WORDS, k=random.choice([1, 2, 5])))
    deep = {"list": [random.randrange(3), random.choice(WORDS)], "on": random.random() < 0.5}
    fields = {"prompt": prompt, "n": number, "deep": deep}
    return dict(list(fields.items())[: random.choice([1, 2, 3])])


def relative(random: Random, given: Input) -> Input:
    """Return an input that a list may show as *given*."""
    more = random.choice([" more", "0", "\nline", "...", " "])
    if "n" in given and random.random() < 0.5:
        return {**given, "n": given["n"] + 0.25}
    return {**given, "prompt": given["prompt"] + more}


def lost_create(given: Input) -> LostCreate:
    entry = Entry(key="k", digest="", index=0, sent=sent_as(given), window_start=1.0)
    return LostCreate(entry, moment(), ApiClock(), SOON)


def candidate(name: str, shown: Any) -> Candidate:
    return Candidate(name, 5.0, ComparedInput(canonical(shown)), is_clear=bool(shown))


async def outcomes(how: Callable[[Input], Any], random: Random, *, alike: bool) -> None:
    """Decide about lost creates, of which half have happened, and check the verdicts.

    Only a list that shows all inputs *alike* tells by some of them how it shows others.
    """
    given = [random_input(random) for _ in range(random.choice([1, 2, 4]))]
    given += [relative(random, each) for each in given if random.random() < 0.4]
    creates = [lost_create(each) for each in given]
    made = [number for number in range(len(given)) if random.random() < 0.5]
    candidates = [candidate(str(number), how(given[number])) for number in made]
    random.shuffle(candidates)
    whole = WholeFields()
    for own in [random_input(random) for _ in range(random.choice([0, 5]))]:
        if alike and how(own) == own:
            whole.add(ComparedInput(canonical(own)))

    found = certain_matches(creates, candidates, whole)

    left = {int(each.id) for each in candidates if each not in found.values()}
    for lost, each in zip(creates, given, strict=True):
        if lost in found:
            assert given[int(found[lost].id)] == each, f"{each} got {found[lost].input.canonical!r}"
        elif not any(match.may_be_of(lost) for match in candidates if int(match.id) in left):
            assert each not in [given[number] for number in left], f"{each} is created twice"


@pytest.mark.parametrize("how", ALTERATIONS)
async def test_no_verdict_is_wrong(how: str) -> None:
    for seed in range(300):
        await outcomes(ALTERATIONS[how], Random(seed), alike=how != "each otherwise")
