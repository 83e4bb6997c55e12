"""Conversion of inputs from JSON, and of outputs to JSON."""

from __future__ import annotations

import asyncio
import io
import math
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from replicate_async.core.endpoint import exact
from replicate_async.interface.annotations import (
    LISTS,
    Field,
    field_names,
    is_file,
    is_record,
    is_secret,
    peel,
    split_optional,
)
from replicate_async.interface.types import InputFile, OutputFile
from replicate_async.local.models.backend import RunHandle
from replicate_async.local.models.files import InputFolder

T = TypeVar("T")


async def load(value: object, hint: Any, run: RunHandle, folder: InputFolder) -> Any:
    """Return an input's JSON *value* as the type of its annotation; files are fetched.

    Files that the model wants as a path are written into *folder*.
    """
    hint, _ = split_optional(peel(hint)[0])
    hint, _ = peel(hint)
    if value is None:
        return None
    if is_file(hint):
        return await _load_file(str(value), hint, run, folder)
    items = value
    if isinstance(items, list) and (get_origin(hint) or hint) in LISTS:
        item = (get_args(hint) or (Any,))[0]
        return [await load(part, item, run, folder) for part in cast("list[object]", items)]
    return _convert(value, hint)


async def load_struct(
    input: Mapping[str, Any],
    struct: type[T],
    fields: Iterable[Field],
    run: RunHandle,
    folder: InputFolder,
) -> T:
    """Return an input as the Struct of a typed model.

    A file that the client sent is a path in *folder*; a URL elsewhere stays one.
    """
    values = {
        field.name: await _for_struct(input[field.name], field.schema, run, folder)
        for field in fields
        if field.name in input
    }
    return msgspec.convert(values, struct, dec_hook=_to_secret)


async def _for_struct(
    value: Any, schema: Mapping[str, Any], run: RunHandle, folder: InputFolder
) -> Any:
    given: object = value
    if isinstance(given, list) and isinstance(items := schema.get("items"), Mapping):
        parts = cast("list[object]", given)
        of_items = cast("Mapping[str, Any]", items)
        return [await _for_struct(part, of_items, run, folder) for part in parts]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # which msgspec takes as a float as well, but not the other way round
    if not isinstance(value, str) or schema.get("format") != "uri" or not _is_here(value):
        return value
    return await _load_file(value, Path, run, folder)


def _is_here(url: str) -> bool:
    """Return whether *url* has the content in it, or is one of this machine."""
    return url.startswith("data:") or urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}


def _to_secret(kind: type, value: object) -> object:
    if is_secret(kind):
        return kind(value)
    raise NotImplementedError


def _convert(value: object, hint: Any) -> Any:
    parts = (hint, *get_args(hint))
    if is_secret(hint):
        return hint(str(value))
    if float in parts and int not in parts and type(value) is int:
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if any(map(is_record, parts)):
        return msgspec.convert(value, type=hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value


async def _load_file(url: str, hint: type, run: RunHandle, folder: InputFolder) -> object:
    file = await run.fetch(url, folder)
    if hint is InputFile:
        return file
    if hint is OutputFile:
        data = await asyncio.to_thread(lambda: file.data)
        return OutputFile(data, file.name, file.content_type)
    if not issubclass(hint, Path):
        return io.BytesIO(await asyncio.to_thread(lambda: file.data))  # Cog's File
    path = file.path or await folder.write(file.name, file.data)
    return path if hint is Path else hint(path)


_MOST_BITS: Final = 10_000
"""Python refuses to write longer integers (`sys.set_int_max_str_digits`)."""


async def dump(value: object, run: RunHandle) -> Any:
    """Return a model's output as JSON values; each file in it is saved and becomes its URL.

    Raises `TypeError` or `ValueError` for a value that JSON does not have.
    """
    if isinstance(value, Enum):
        return await dump(cast("object", value.value), run)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("the model's output holds an integer of thousands of digits")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        return exact(value)
    if isinstance(value, Path | InputFile | OutputFile):
        return await _save(value, run)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"the model's output holds {value}, which JSON cannot hold")
        return exact(value)  # NumPy's float64 is a subclass
    return await _dump_container(value, run)


async def _save(file: Path | InputFile | OutputFile, run: RunHandle) -> str:
    if isinstance(file, Path):
        await asyncio.to_thread(_check_regular, file)
        return await run.save(file, file.name, mimetypes.guess_type(file.name)[0])
    content = file.data if isinstance(file, OutputFile) else file.path or file.data
    return await run.save(content, file.name, file.content_type)


def _check_regular(path: Path) -> None:
    """Raise `ValueError` for a pipe or a device, which may have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"the model's output {path} is neither a file nor a folder")


async def _dump_container(value: Any, run: RunHandle) -> Any:
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): await dump(part, run) for key, part in items}
    if isinstance(value, list | tuple | AbstractSet):
        return [await dump(part, run) for part in cast("Sequence[object]", value)]
    kind = cast("type[object]", type(value))
    if is_record(kind):
        names = field_names(kind)
        return {shown: await dump(getattr(value, name), run) for name, shown in names.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("a model returns a file as OutputFile(data) or a Path, not as bytes")
    if is_secret(kind):
        raise TypeError("a model's output must not hold a Secret")
    if callable(to_list := getattr(value, "tolist", None)):
        return await dump(to_list(), run)  # a number or an array of NumPy
    return msgspec.to_builtins(value)
