"""Painter

Generated from dev/painter by ``replicate-async types``; do not edit.
Schema: 3f2a1b0c9d8e
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from replicate_async import FileInput, FileOutput, Secret, TypedModel


class Input(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What the model takes."""

    prompt: str
    """What to paint."""

    width: Annotated[int, Meta(ge=256, le=1280)] = 1024
    """Width of the image."""

    scheduler: Literal["DDIM", "K_EULER"] = "K_EULER"

    image: FileInput | None = None

    token: Secret | None = None


Output: TypeAlias = list[FileOutput]

MODEL: Final[TypedModel[Input, Output]] = TypedModel(
    "dev/painter",
    input=Input,
    output=Output,
)
