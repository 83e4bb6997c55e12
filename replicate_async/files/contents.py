"""Recognizing files among the values of an input."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable
from typing import Any, BinaryIO, Protocol


class AsyncReadable(Protocol):
    """An object with an async ``read``, such as `asyncio.StreamReader` or a file of aiofiles."""

    async def read(self, n: int = -1, /) -> bytes:
        """Return at most *n* bytes, nothing at the end."""
        ...


class Image(Protocol):
    """An image of Pillow."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    @property
    def mode(self) -> str:
        """The kind of its pixels, such as "RGB"."""
        ...

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Write the image to a file."""
        ...


class FormFile(Protocol):
    """A file from an HTML form, such as the `UploadFile` of Starlette."""

    @property
    def file(self) -> BinaryIO:
        """The file that holds the bytes."""
        ...

    @property
    def filename(self) -> str | None:
        """The file name in the form."""
        ...


class FilePlaceholder:
    """Stands for a file in an input, where the URL that the API will show is not known."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a file>"


FileContent = (
    bytes
    | bytearray
    | memoryview
    | os.PathLike[str]
    | BinaryIO
    | AsyncIterable[bytes]
    | AsyncReadable
    | FormFile
    | Image
)
"""Values that can be sent as a file."""


def is_file(value: object) -> bool:
    """Return whether *value* is a path, an open or form file, an async iterator or an image."""
    return (
        isinstance(value, os.PathLike | AsyncIterable | FilePlaceholder)
        or callable(getattr(value, "read", None))
        or is_image(value)
        or form_file(value) is not None
    )


def form_file(value: object) -> object:
    """Return the file that holds the bytes of a form file, None if *value* is not one."""
    for name in ("file", "stream"):  # Starlette, Litestar and aiohttp; Werkzeug and Quart
        held: object = getattr(value, name, None)
        if callable(getattr(held, "read", None)) and hasattr(value, "filename"):
            return held
    return None


def is_image(value: object) -> bool:
    """Return whether *value* is an image of Pillow, which only a caller imports."""
    module = sys.modules.get("PIL.Image")
    kind = getattr(module, "Image", None)
    return isinstance(kind, type) and isinstance(value, kind)
