from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

import pytest

from replicate_async.local import ConcatenateIterator, Input, InputFile, LocalReplicate, OutputFile
from tests.cli.program import FORKS


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """End the process that the commands are forks of."""
    yield
    FORKS.close()


def shapes(
    name: str,
    count: Annotated[int, Input(ge=1, le=9)] = 1,
    ratio: float = 0.5,
    loud: bool = False,
    kind: Literal["round", "square"] = "round",
    sizes: Annotated[list[int], Input(description="In pixels")] = [],  # noqa: B006 - a default
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Give back what it was given."""
    return {k: v for k, v in locals().items() if v is not None}


def measure(file: InputFile) -> str:
    return f"{len(file.data)} bytes of {file.content_type}"


def spell(word: str) -> ConcatenateIterator[str]:
    yield from word


def pictures(count: int = 2) -> Iterator[OutputFile]:
    for number in range(count):
        yield OutputFile(b"png", name=f"{number}.png", content_type="image/png")


@pytest.fixture
async def server() -> AsyncIterator[LocalReplicate]:
    models: dict[str, Callable[..., object]] = {
        "acme/shapes": shapes,
        "acme/measure": measure,
        "acme/spell": spell,
        "acme/pictures": pictures,
    }
    async with LocalReplicate(models=models) as server:
        yield server
