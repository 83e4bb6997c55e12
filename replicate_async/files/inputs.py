"""A model's input, made into plain JSON values."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.schemas import File

LARGEST_DATA_URL: Final = 256_000
"""Bytes that may stand in the input itself; the API asks for an upload above that."""


def encode_input(given: Mapping[str, object] | msgspec.Struct | None) -> dict[str, Any]:
    """Return *given* as the API takes it, without the inputs that are None.

    The API refuses an explicit null even for optional inputs, so None means "left out". Bytes
    become a data URL, an uploaded `File` its URL. Raises `InvalidArgumentError` naming the input.
    """
    if given is None:
        return {}
    if isinstance(given, msgspec.Struct):
        given = {
            encoded: getattr(given, name)
            for name, encoded in zip(
                given.__struct_fields__, given.__struct_encode_fields__, strict=True
            )
        }
    elif not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"input={shorten(given)} is a {type(given).__name__}; it must be a mapping such as "
            '{"prompt": "..."}, or a msgspec Struct.'
        )
    left = {name: value for name, value in given.items() if value is not None}
    return encode_json(left, "input")


def encode_json(given: Mapping[str, object], argument: str) -> dict[str, Any]:
    """Return *given* as plain JSON values; raises `InvalidArgumentError` naming the key."""
    try:
        return {
            _key(name, argument): _plain(value, f"{argument}[{name!r}]")
            for name, value in given.items()
        }
    except RecursionError:
        raise InvalidArgumentError(
            f"{argument} is nested too deep for JSON, or holds itself."
        ) from None


def _plain(value: object, where: str) -> object:
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgumentError(f"{where} is {value}, which JSON cannot say.")
        return value
    if isinstance(value, Mapping | list | tuple | AbstractSet):
        return _container(cast("Mapping[object, object] | Iterable[object]", value), where)
    if isinstance(value, bytes | bytearray):
        return _data_url(bytes(value), where)
    return value.urls.get if isinstance(value, File) else _by_msgspec(value, where)


def _container(value: Mapping[object, object] | Iterable[object], where: str) -> object:
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {_key(name, where): _plain(item, f"{where}[{name!r}]") for name, item in items}
    return [_plain(item, where) for item in value]


def _key(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"{where} has the key {shorten(name)}; keys must be strings.")
    return name


def _data_url(content: bytes, where: str) -> str:
    if len(content) > LARGEST_DATA_URL:
        raise InvalidArgumentError(
            f"{where} holds {len(content):,} bytes; above {LARGEST_DATA_URL:,} upload it with "
            "client.files.create(...) and pass the File in its place."
        )
    return f"data:application/octet-stream;base64,{b64encode(content).decode('ascii')}"


def _by_msgspec(value: object, where: str) -> object:
    """Return dates, enums, dataclasses and the like as JSON values."""
    try:
        plain: object = msgspec.to_builtins(value, enc_hook=_refuse)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{where}: {error}.") from None
    return plain


def _refuse(value: object) -> object:
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be sent as JSON; convert it to plain "
        "values, or upload a file with client.files.create(...) and pass the File it returns"
    )
