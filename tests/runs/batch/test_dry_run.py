"""Dry runs compare inputs with the schema of a model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pytest

from replicate_async import Replicate, Secret
from replicate_async.local import Input, InputFile, Settings
from tests.support.embedded import embedded

pytestmark = pytest.mark.anyio

MODEL: Final = "acme/everything"


def everything(
    text: str,
    count: Annotated[int, Input(ge=1, le=4)] = 1,
    style: Literal["fast", "good"] = "good",
    loud: bool = False,
    list: list[int] = [],  # noqa: B006 - a model's default
    image: InputFile | None = None,
) -> str:
    return text


@pytest.fixture
async def client() -> AsyncIterator[Replicate]:
    async with embedded(Settings()) as (server, client):
        server.add_model(MODEL, everything)
        yield client


CHOICES: Final = (
    '"godo" is none of its choices; did you mean "good"? It takes "fast", "good" (default "good").'
)
GIVEN: Final[list[tuple[dict[str, Any], str | None]]] = [
    ({"text": "x"}, None),
    ({"text": "x", "count": 4, "style": "good", "loud": True, "list": (1,)}, None),
    ({"text": "x", "image": Path(__file__)}, None),
    ({"text": "x", "unknown": 1}, None),
    ({"count": 1}, "text is required: a string."),
    ({"text": 3}, "text=3 is an int; it takes a string."),
    ({"text": Path(__file__)}, None),
    ({"text": "x", "count": 0}, "count=0 is too small; it takes an integer 1..4 (default 1)."),
    ({"text": "x", "count": 5}, "count=5 is too large; it takes an integer 1..4 (default 1)."),
    ({"text": "x", "count": 1.5}, "count=1.5 is a float; it takes an integer 1..4 (default 1)."),
    ({"text": "x", "count": True}, "count=True is a bool; it takes an integer 1..4 (default 1)."),
    ({"text": "x", "loud": 1}, "loud=1 is an int; it takes a boolean (default False)."),
    ({"text": "x", "style": "godo"}, f"style={CHOICES}"),
    (
        {"text": "x", "style": Secret("hunter2")},
        'style is none of its choices; it takes "fast", "good".',
    ),
    ({"text": "x", "list": "abc"}, 'list="abc" is a str; it takes a list of integer (default []).'),
    (
        {"count": 0},
        "text is required: a string. count=0 is too small; it takes an integer 1..4 (default 1).",
    ),
]


async def test_a_dry_run_compares_inputs_with_the_schema(client: Replicate) -> None:
    batch = client.batch(MODEL, [given for given, _ in GIVEN], dry_run=True)
    found = {result.index: result.error async for result in batch}

    for index, (_, says) in enumerate(GIVEN):
        error = found[index]
        assert (error and str(error)) == (says and f"input {index} ({index}): {says}")


async def test_a_file_in_a_dry_run_is_not_read(client: Replicate) -> None:
    given = {"text": "x", "image": Path("there/is/none.png")}

    [result] = [result async for result in client.batch(MODEL, [given], dry_run=True)]

    assert result.ok
