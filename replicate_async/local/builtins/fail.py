"""``local/fail``: fails, at once or in the middle of its output."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

from replicate_async.interface.types import Concatenate, Input
from replicate_async.local.models.current_run import log
from replicate_async.local.models.function import ModelFunction

NAME: Final = "local/fail"


class ModelError(Exception):
    """The error that the model was asked for."""


async def predict(
    message: Annotated[str, Input(description="What the error says")] = "failed as asked",
    after: Annotated[int, Input(ge=0, le=1000, description="Pieces of output before that")] = 0,
    delay_ms: Annotated[int, Input(ge=0, le=60_000, description="Time before each piece")] = 0,
) -> Annotated[AsyncIterator[str], Concatenate()]:
    """Fail with a message, after some output."""
    log(f"Failing after {after} pieces of output")
    for number in range(1, after + 1):
        await asyncio.sleep(delay_ms / 1000)
        yield f"piece {number} "
    raise ModelError(message)


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
