"""Storyteller

Generated from local/storyteller by ``replicate-async types``; do not edit.
Schema: 0123456789ab
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from replicate_async import TypedModel


class Input(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What the model takes."""

    prompt: str
    """How the text begins, or what it is about"""

    max_tokens: Annotated[int, Meta(ge=1, le=10_000)] = 128
    """Tokens to write"""

    temperature: Annotated[float, Meta(ge=0, le=5)] = 1.0

    seed: Annotated[int, Meta(ge=0)] | None = None

    delay_ms: Annotated[float, Meta(ge=0, le=10_000)] = 2
    """Time between tokens in milliseconds"""


class TrainingInput(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What a training takes."""

    text: Annotated[str, Meta(min_length=1)]
    """The text to learn from"""


Output: TypeAlias = str

MODEL: Final[TypedModel[Input, Output]] = TypedModel(
    "local/storyteller",
    input=Input,
    output=Output,
    training=TrainingInput,
)
