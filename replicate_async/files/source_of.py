"""Finding the source that reads a file of the caller."""

from __future__ import annotations

import io
import os
import re
from collections.abc import AsyncIterable
from pathlib import Path
from typing import BinaryIO, Final, cast

from anyio import AsyncFile

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import AsyncReadable, Image, form_file, is_image
from replicate_async.files.images import ImageSource
from replicate_async.files.media import OCTET_STREAM
from replicate_async.files.output import FileOutput
from replicate_async.files.readers import read_async, read_pipe, reads_async, translated_errors
from replicate_async.files.sources import Memory, OneShotSource, OpenFile, PathSource, Source

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)


def source_of(value: object, where: str) -> Source:
    """Return the source that reads *value*; *where* names the argument in error messages.

    Raises `InvalidArgumentError` for a value that cannot be read. Nothing is read yet.
    """
    with translated_errors(where):
        return _source_of(value, where)


def _source_of(value: object, where: str) -> Source:
    if isinstance(value, bytes | bytearray | memoryview):
        return Memory(cast("bytes | bytearray | memoryview", value), where)
    if isinstance(value, os.PathLike):
        path = Path(os.fsdecode(cast("os.PathLike[str]", value)))
        return PathSource(path, f"{where}={str(path)!r}")
    if isinstance(value, AsyncFile):
        return _source_of(cast("AsyncFile[bytes]", value).wrapped, where)
    if (held := form_file(value)) is not None:
        return _of_form_file(value, held, where)
    return _of_other(value, where, f"{where}={shorten(value)}")


def _of_other(value: object, where: str, label: str) -> Source:
    if is_image(value):
        return ImageSource(cast("Image", value), label)
    if isinstance(value, io.TextIOBase):
        raise InvalidArgumentError(f"{label} is open in text mode; open it with 'rb'.")
    if getattr(value, "ag_frame", "") is None:  # of an async generator
        raise InvalidArgumentError(
            f"{where}: the generator was read to its end before, so that nothing would be sent; "
            "call its function again."
        )
    if isinstance(value, FileOutput):
        return OneShotSource(value, label, value.name)
    if reads_async(value):
        return OneShotSource(
            read_async(cast("AsyncReadable", value), label), label, _name_of(value)
        )
    if isinstance(value, AsyncIterable):
        return OneShotSource(cast("AsyncIterable[object]", value), where)
    if _is_open_file(value):
        return _of_open_file(cast("BinaryIO", value), label)
    raise InvalidArgumentError(
        f"{label} is a {type(value).__name__}; give bytes, a Path, a file opened with 'rb', or an "
        "async iterator of bytes."
    )


def _of_form_file(value: object, held: object, where: str) -> Source:
    source = _source_of(held, where)
    filename: object = getattr(value, "filename", None)
    # Some browsers send a whole path.
    source.name = re.split(r"[\\/]", filename)[-1] or None if isinstance(filename, str) else None
    stated: object = getattr(value, "content_type", None)
    found = _MEDIA_TYPE.match(stated) if isinstance(stated, str) else None
    source.type = found.group() if found and found.group() != OCTET_STREAM else None
    return source


def _is_open_file(value: object) -> bool:
    methods = ("read", "readable", "seekable", "seek", "tell")
    return all(hasattr(value, name) for name in methods)


def _of_open_file(file: BinaryIO, label: str) -> Source:
    with translated_errors(label):
        readable, seekable = file.readable(), file.seekable()
    if not readable:
        raise InvalidArgumentError(f"{label} is open for writing only; open it with 'rb'.")
    if seekable:
        return OpenFile(file, label, _name_of(file))
    return OneShotSource(read_pipe(file, label), label, _name_of(file))


def _name_of(file: object) -> str | None:
    """Return the last part of the name of *file*; a file descriptor is not a name."""
    name: object = getattr(file, "name", None)
    return Path(name).name or None if isinstance(name, str) else None
