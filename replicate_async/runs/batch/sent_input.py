"""The input of a create in the journal, in the normalized form in which it is compared."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from replicate_async.runs.batch.identity import A_FILE, normalize
from replicate_async.runs.batch.known_file import KnownFile


class _File(msgspec.Struct, frozen=True):
    place: list[str | int]
    known: KnownFile | None


class _Sent(msgspec.Struct, frozen=True):
    values: Any
    files: list[_File]


_decode = msgspec.json.Decoder(_Sent).decode


def encode_sent(normalized: object) -> bytes:
    """Return the JSON of a normalized input."""
    files: list[_File] = []
    return msgspec.json.encode(_Sent(_without_files(normalized, [], files), files))


def decode_sent(sent: bytes) -> object:
    """Return the normalized input that `encode_sent` made JSON of."""
    stored = _decode(sent)
    values = normalize(stored.values)
    for file in stored.files:
        *path, last = file.place
        holder: Any = values
        for key in path:
            holder = holder[key]
        holder[last] = file.known or A_FILE
    return values


def _without_files(value: object, place: list[str | int], files: list[_File]) -> object:
    """Return *value* with None in place of its files, which are added to *files*."""
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return {key: _without_files(each, [*place, key], files) for key, each in named.items()}
    if isinstance(value, list):
        listed = enumerate(cast("list[object]", value))
        return [_without_files(each, [*place, at], files) for at, each in listed]
    if value is A_FILE or isinstance(value, KnownFile):
        files.append(_File(place, value if isinstance(value, KnownFile) else None))
        return None
    return value
