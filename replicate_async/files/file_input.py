"""The annotation of a file in a model's input."""

from __future__ import annotations

from collections.abc import AsyncIterable
from os import PathLike
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeAlias

from msgspec import Meta

if TYPE_CHECKING:
    from replicate_async.files.output import FileOutput
    from replicate_async.schemas.files import File

    _FileInput: TypeAlias = (
        str
        | bytes
        | bytearray
        | memoryview
        | PathLike[str]
        | IO[bytes]
        | AsyncIterable[bytes]
        | File
        | FileOutput
    )
else:
    # msgspec takes no union of foreign classes; the schema of the annotation says what it is.
    _FileInput = Annotated[Any, Meta(extra_json_schema={"type": "string", "format": "uri"})]

# Editors show the docstring of an alias that stands in no block.
FileInput: TypeAlias = _FileInput
"""A file for a model: its bytes, a `Path`, an open file, an upload, an output, or a URL.

A `str` is a URL or a data URL, never a path.
"""
