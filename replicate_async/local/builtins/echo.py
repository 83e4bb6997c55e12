"""``local/echo``: gives back what it was given."""

from __future__ import annotations

from typing import Annotated, Final

from replicate_async.interface.types import Input
from replicate_async.local.models.function import ModelFunction

NAME: Final = "local/echo"


async def predict(value: Annotated[object, Input(description="Any JSON value")]) -> object:
    """Return the value unchanged."""
    return value


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
