"""The schemas that models publish, byte for byte as they were frozen in golden_schemas.jsonl.

`python -m tests.local.test_golden_schemas` writes the file again after a change that is wanted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypedDict

import msgspec

from replicate_async.local import (
    AsyncConcatenateIterator,
    ConcatenateIterator,
    Input,
    InputFile,
    ModelFunction,
    OutputFile,
    Secret,
    Weights,
)
from replicate_async.local.builtins import BUILTINS

GOLDEN: Final = Path(__file__).with_name("golden_schemas.jsonl")


class Mood(Enum):
    HAPPY = "happy"
    SAD = "sad"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Caption(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    best_text: str
    score: float | None = None


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


class Shape(TypedDict, total=False):
    sides: int
    mood: Mood


def scalars(
    text: str,
    count: int = 3,
    *,
    share: float = 0.5,
    flag: bool = False,
    note: str | None = None,
    seed: int | None = 7,
) -> str:
    """All scalars, required, with defaults and without a value.

    Only the first line of this is the description.
    """
    del count, share, flag, note, seed
    return text


def limits(
    steps: Annotated[int, Input(ge=1, le=50, description="Steps \u2013 \u201cmany\u201d")] = 20,
    strength: float = Input(0.8, ge=0.0, le=1),
    name: str = Input(min_length=2, max_length=8, pattern="^[a-z]+$"),
    old: str | None = Input(None, deprecated=True, description="Not used any more"),
    model: str = Input("a", choices=["a", "b", "c"]),
    scale: int = Input(2, choices=[2, 4]),
) -> int:
    del steps, strength, name, old, model, scale
    return 0


def choices(
    refine: Literal["none", "expert"] = "none",
    mood: Mood = Mood.SAD,
    size: Size | None = None,
    level: Literal[1, 2, 3] = 2,
    many: list[Literal["x", "y"]] | None = None,
) -> Mood:
    del refine, size, level, many
    return mood


def containers(
    tags: list[str],
    numbers: Sequence[float] = (),
    anything: Any = None,
    value: object = None,
    table: dict[str, int] | None = None,
    free: Mapping[str, Any] | None = None,
    mixed: int | str = 1,
    points: list[Point] | None = None,
) -> dict[str, list[int]]:
    del tags, numbers, anything, value, table, free, mixed, points
    return {}


def records(point: Point, shape: Shape, caption: Caption | None = None) -> Caption:
    del point, shape, caption
    return Caption(best_text="")


def files(
    image: InputFile,
    mask: Path | None = None,
    key: Secret | None = None,
    more: list[Path] | None = None,
) -> list[OutputFile]:
    del image, mask, key, more
    return []


def text_iterator(prompt: str) -> ConcatenateIterator[str]:
    yield prompt


async def async_text_iterator(prompt: str) -> AsyncConcatenateIterator[str]:
    yield prompt


def file_iterator(count: int = 1) -> Iterator[Path]:
    del count
    yield Path()


async def record_iterator() -> AsyncIterator[Point]:
    yield Point(0)


def nothing_in() -> object:
    return None


def trainable(prompt: str, weights: Weights | None = None) -> str:
    del weights
    return prompt


def training(
    text: Annotated[str, Input(min_length=1)], epochs: int = 3, mood: Mood = Mood.SAD
) -> Weights:
    del text, epochs, mood
    return Weights(b"")


FUNCTIONS: Final[tuple[Callable[..., object], ...]] = (
    scalars,
    limits,
    choices,
    containers,
    records,
    files,
    text_iterator,
    async_text_iterator,
    file_iterator,
    record_iterator,
    nothing_in,
)


def published() -> dict[str, bytes]:
    models = {ref: make() for ref, make in BUILTINS.items()}
    models |= {function.__name__: ModelFunction(function) for function in FUNCTIONS}
    models["trainable"] = ModelFunction(trainable, train=training)
    return {name: msgspec.json.encode(model.openapi_schema) for name, model in models.items()}


def golden() -> dict[str, bytes]:
    lines = GOLDEN.read_bytes().splitlines()
    return {name.decode(): schema for name, _, schema in (line.partition(b"\t") for line in lines)}


def test_the_bytes_of_each_published_schema_stay_as_they_are() -> None:
    now, frozen = published(), golden()

    for name in frozen:
        assert now[name].decode() == frozen[name].decode(), name
    assert now.keys() == frozen.keys()


if __name__ == "__main__":
    lines = (name.encode() + b"\t" + schema + b"\n" for name, schema in published().items())
    GOLDEN.write_bytes(b"".join(lines))
