"""Values on their way into a model and out of it: JSON to Python's types, and back."""

from __future__ import annotations

import asyncio
import math
import mimetypes
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol, Self, cast, get_args, get_origin
from urllib.parse import unquote, urlsplit

import msgspec

from replicate_async.files.names import safe_name
from replicate_async.files.threads import run_in_thread
from replicate_async.local.models.schema import (
    FILES,
    LISTS,
    InputFile,
    OutputFile,
    Secret,
    field_names,
    is_record,
    peel,
    split_optional,
)
from replicate_async.local.store.blobs import TempFolder


class RunHandle(Protocol):
    """What a model's run needs of the server that runs it."""

    def log(self, text: str) -> None:
        """Append *text* to the prediction's logs; a newline is added if it ends without one."""
        ...

    def metric(self, name: str, value: float | str) -> None:
        """Set one of the prediction's metrics."""
        ...

    async def fetch(self, url: str, folder: InputFolder) -> InputFile:
        """Get an input file: an https or data URL, or one of the server's own files.

        A large one is written into *folder*.
        """
        ...

    async def save(self, content: bytes | Path, name: str, content_type: str | None) -> str:
        """Keep an output file and return its URL; a file at a path is copied."""
        ...

    @property
    def canceled(self) -> bool:
        """Whether the prediction has been cancelled."""
        ...


class InputFolder:
    """A run's folder for input files: made for the first of them, removed after the run."""

    def __init__(self) -> None:
        self._disk = TempFolder()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await run_in_thread(self._disk.close)

    async def place(self, name: str) -> Path:
        """Return where a file may be written that keeps its name, in a folder of its own."""

        def place() -> Path:
            path = self._disk.place() / name
            path.parent.mkdir()
            return path

        return await asyncio.to_thread(place)

    async def write(self, name: str, data: bytes) -> Path:
        """Write such a file."""
        path = await self.place(name)
        await asyncio.to_thread(path.write_bytes, data)
        return path


async def load(value: object, hint: Any, context: RunHandle, folder: InputFolder) -> Any:
    """Return an input's JSON *value* as its annotation has it; files are fetched.

    Files that the model wants as a path are written into *folder*.
    """
    hint, _ = split_optional(peel(hint)[0])
    hint, _ = peel(hint)
    if value is None:
        return None
    if hint in FILES:
        return await _load_file(str(value), hint, context, folder)
    items = value
    if isinstance(items, list) and (get_origin(hint) or hint) in LISTS:
        item = (get_args(hint) or (Any,))[0]
        return [await load(part, item, context, folder) for part in cast("list[object]", items)]
    return _convert(value, hint)


def _convert(value: object, hint: Any) -> Any:
    parts = (hint, *get_args(hint))
    if hint is Secret:
        return Secret(str(value))
    if float in parts and int not in parts and type(value) is int:
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if any(map(is_record, parts)):
        return msgspec.convert(value, type=hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value


async def _load_file(url: str, hint: Any, context: RunHandle, folder: InputFolder) -> object:
    file = await context.fetch(url, folder)
    if hint is InputFile:
        return file
    if hint is OutputFile:
        data = await asyncio.to_thread(lambda: file.data)
        return OutputFile(data, file.name, file.content_type)
    return file.path or await folder.write(file.name, file.data)


def describe_file(url: str) -> tuple[str, str | None]:
    """Return a safe file name and the media type, by what *url* says of them."""
    if url.startswith("data:"):
        content_type = url[len("data:") :].partition(",")[0].partition(";")[0] or "text/plain"
        return f"input{mimetypes.guess_extension(content_type) or ''}", content_type
    name = safe_name(unquote(urlsplit(url).path) or "input")
    return name, mimetypes.guess_type(name)[0]


_MOST_BITS: Final = 10_000
"""Python writes no longer integers as text (`sys.set_int_max_str_digits`)."""


async def dump(value: object, context: RunHandle) -> Any:
    """Return a model's output as JSON values; each file in it is saved and becomes its URL.

    Raises `TypeError` or `ValueError` for what JSON cannot say.
    """
    if isinstance(value, Enum):
        return await dump(cast("object", value.value), context)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("the model's output holds an integer of thousands of digits")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Path | InputFile | OutputFile):
        return await _save(value, context)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"the model's output holds {value}, which JSON cannot say")
        return value
    return await _dump_container(value, context)


async def _save(file: Path | InputFile | OutputFile, context: RunHandle) -> str:
    if isinstance(file, Path):
        return await context.save(file, file.name, mimetypes.guess_type(file.name)[0])
    content = file.data if isinstance(file, OutputFile) else file.path or file.data
    return await context.save(content, file.name, file.content_type)


async def _dump_container(value: Any, context: RunHandle) -> Any:
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): await dump(part, context) for key, part in items}
    if isinstance(value, list | tuple | AbstractSet):
        return [await dump(part, context) for part in cast("Sequence[object]", value)]
    kind = cast("type[object]", type(value))
    if is_record(kind):
        names = field_names(kind)
        return {shown: await dump(getattr(value, name), context) for name, shown in names.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("a model returns a file as OutputFile(data) or a Path, not as bytes")
    if isinstance(value, Secret):
        raise TypeError("a model's output must not hold a Secret")
    if callable(to_list := getattr(value, "tolist", None)):
        return await dump(to_list(), context)  # a number or an array of numpy's
    return msgspec.to_builtins(value)
