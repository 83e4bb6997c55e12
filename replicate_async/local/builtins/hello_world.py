"""``replicate/hello-world``: the example of the API's own specification."""

from __future__ import annotations

from typing import Annotated, Final

from replicate_async.interface.types import Input
from replicate_async.local.models.function import ModelFunction

NAME: Final = "replicate/hello-world"


async def predict(text: Annotated[str, Input(description="Text to prefix with 'hello '")]) -> str:
    """A tiny model that says hello"""  # noqa: D400, D401 - the specification's words
    return f"hello {text}"


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
