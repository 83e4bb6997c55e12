"""A model's input, made into plain JSON values; its files wait to be sent."""

from __future__ import annotations

import dataclasses
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.media import describe
from replicate_async.files.output import FileOutput
from replicate_async.files.sources import is_file
from replicate_async.schemas import File

FileEncoding: TypeAlias = Literal["auto", "upload", "data-url"]
"""How the files of an input are sent: by their size, always uploaded, or never."""

LARGEST_DATA_URL: Final = 256_000
"""Bytes of a file that may stand in the input itself; the API asks for an upload above that."""
LARGEST_FORCED_DATA_URL: Final = 1_000_000
"""Bytes of a file that the API takes in the input itself if it must."""
MOST_IN_DATA_URLS: Final = 10_000_000
"""Bytes of all files of an input together that stand in the input itself."""

LARGEST_UPLOAD: Final = 100_000_000
"""Bytes of a file that the API takes as an upload."""

_SCALARS: Final = frozenset({str, int, bool, type(None)})
_SCALAR_CLASSES: Final = (str, int)
_CONTAINERS: Final = (Mapping, list, tuple, AbstractSet)


class Slot:
    """A file in an input: the value that was given for it, and the URL that takes its place."""

    __slots__ = ("url", "value")

    def __init__(self, value: object) -> None:
        self.value: object = value
        self.url: str = ""


class Draft:
    """An input as the API takes it, but for its files, which are still to be sent."""

    __slots__ = ("bytes_in_data_urls", "encoding", "slots", "values")

    def __init__(
        self, values: dict[str, Any], slots: list[Slot], encoding: FileEncoding, inlined: int
    ) -> None:
        self.values: dict[str, Any] = values
        self.slots: list[Slot] = slots
        self.encoding: FileEncoding = encoding
        self.bytes_in_data_urls: int = inlined

    def places(self) -> list[tuple[Slot, str]]:
        """Return each file once, with where it is found first."""
        found: dict[Slot, str] = {}
        for slot, path in _slots(self.values, []):
            found.setdefault(slot, _place("input", path))
        return list(found.items())

    def fill(self) -> None:
        """Put the URLs of the files in their places."""
        _fill(self.values)
        self.slots = []


def encode_input(
    given: Mapping[str, object] | msgspec.Struct | None, encoding: FileEncoding = "auto"
) -> Draft:
    """Return *given* as the API takes it, without the inputs that are None.

    The API refuses an explicit null even for optional inputs, so None means "left out". Bytes that
    are few become a data URL, an uploaded `File` its URL; all else that is a file waits in a
    `Slot`. Raises `InvalidArgumentError` naming the input.
    """
    encoder = _Encoder(encoding)
    if given is None:
        return Draft({}, encoder.slots, encoding, 0)
    if isinstance(given, msgspec.Struct):
        given = {
            encoded: value
            for name, encoded in zip(
                given.__struct_fields__, given.__struct_encode_fields__, strict=True
            )
            if (value := getattr(given, name)) is not msgspec.UNSET
        }
    elif not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"input={shorten(given)} is a {type(given).__name__}; it must be a mapping such as "
            '{"prompt": "..."}, or a msgspec Struct.'
        )
    left = {name: value for name, value in given.items() if value is not None}
    values = encoder.encode(left, "input")
    return Draft(values, encoder.slots, encoding, encoder.inlined)


def encode_json(given: Mapping[str, object], argument: str) -> dict[str, Any]:
    """Return *given* as plain JSON values; raises `InvalidArgumentError` naming the key."""
    encoder = _Encoder("auto")
    values = encoder.encode(given, argument)
    for _, path in _slots(values, []):
        raise InvalidArgumentError(
            f"{_place(argument, path)} is a file; {argument} takes plain values only."
        )
    return values


class _Misfit(Exception):  # noqa: N818 - never leaves this module
    """A value that cannot be sent; collects its place on the way out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[object] = []


class _Encoder:
    """One pass over a value."""

    __slots__ = ("_encoding", "_known", "inlined", "slots")

    def __init__(self, encoding: FileEncoding) -> None:
        self._encoding = encoding
        self._known: dict[object, Slot] = {}
        self.inlined = 0
        self.slots: list[Slot] = []

    def encode(self, given: Mapping[str, object], argument: str) -> dict[str, Any]:
        try:
            return self._mapping(cast("Mapping[object, object]", given))
        except _Misfit as misfit:
            place = _place(argument, reversed(misfit.path))
            error = InvalidArgumentError(f"{place}{misfit.problem}")
        except RecursionError:
            error = InvalidArgumentError(
                f"{argument} is nested too deep for JSON, or holds itself."
            )
        raise error

    def _plain(self, value: object) -> object:
        if isinstance(value, _SCALAR_CLASSES) or value is None:
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _Misfit(f" is {value}, which JSON cannot say.")
            return value
        if isinstance(value, _CONTAINERS):
            if isinstance(value, Mapping):
                return self._mapping(cast("Mapping[object, object]", value))
            return self._list(cast("Iterable[object]", value))
        return self._other(value)

    def _mapping(self, given: Mapping[object, object]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name, value in given.items():
            if not isinstance(name, str):
                raise _Misfit(f" has the key {shorten(name)}; keys must be strings.")
            if type(value) in _SCALARS:
                plain[name] = value
                continue
            try:
                plain[name] = self._plain(value)
            except _Misfit as misfit:
                misfit.path.append(name)
                raise
        return plain

    def _list(self, given: Iterable[object]) -> list[object]:
        plain: list[object] = []
        for value in given:
            if type(value) in _SCALARS:
                plain.append(value)
                continue
            try:
                plain.append(self._plain(value))
            except _Misfit as misfit:
                misfit.path.append(len(plain))
                raise
        return plain

    def _other(self, value: object) -> object:
        """Encode what is neither JSON nor a container of it."""
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(cast("bytes | bytearray | memoryview", value))
        if isinstance(value, File):
            return value.urls.get
        if isinstance(value, FileOutput):
            return value.url
        if isinstance(value, msgspec.Struct):
            return self._struct(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping(
                {
                    field.name: item
                    for field in dataclasses.fields(value)
                    if (item := getattr(value, field.name)) is not msgspec.UNSET
                }
            )
        return self._slot(value) if is_file(value) else _by_msgspec(value)

    def _bytes(self, value: bytes | bytearray | memoryview) -> object:
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        small = size <= LARGEST_DATA_URL and self.inlined + size <= MOST_IN_DATA_URLS
        if self._encoding == "upload" or not small:
            return self._slot(value)
        self.inlined += size
        content = bytes(value)
        return data_url(content, describe(None, content)[1])

    def _slot(self, value: object) -> Slot:
        # The same file in two places is sent once, and an iterator cannot be read twice.
        key: object = value if isinstance(value, Path) else id(value)
        slot = self._known.get(key)
        if slot is None:
            slot = self._known[key] = Slot(value)
            self.slots.append(slot)
        return slot

    def _struct(self, value: msgspec.Struct) -> object:
        config = value.__struct_config__
        items = [getattr(value, name) for name in value.__struct_fields__]
        if config.array_like:
            head = [] if config.tag is None else [config.tag]
            return self._list([*head, *items])
        plain = {} if config.tag_field is None else {config.tag_field: config.tag}
        left_out = _defaults(type(value)) if config.omit_defaults else {}
        for name, encoded, item in zip(
            value.__struct_fields__, value.__struct_encode_fields__, items, strict=True
        ):
            if item is msgspec.UNSET or (name in left_out and left_out[name](item)):
                continue
            plain[encoded] = item
        return self._mapping(cast("Mapping[object, object]", plain))


def _defaults(kind: type[msgspec.Struct]) -> dict[str, Callable[[object], bool]]:
    """Return, for each field with a default, what tells whether a value is that."""
    tests: dict[str, Callable[[object], bool]] = {}
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT:
            tests[field.name] = _is_like(field.default)
        elif field.default_factory in {list, dict, set}:
            tests[field.name] = _is_like(cast("object", field.default_factory()))
    return tests


def _is_like(default: object) -> Callable[[object], bool]:
    return lambda value: value is default or (type(value) is type(default) and value == default)


def data_url(content: bytes, kind: str) -> str:
    """Return *content* as a data URL of the media type *kind*."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def _by_msgspec(value: object) -> object:
    """Return dates, enums and the like as JSON values."""
    try:
        plain: object = msgspec.to_builtins(value, enc_hook=_refuse)
    except (TypeError, ValueError) as error:
        problem = f": {error}."
    else:
        return plain
    raise _Misfit(problem)


def _refuse(value: object) -> NoReturn:
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be sent as JSON; convert it to plain "
        "values, or give a file as bytes, a Path, an open file or an async iterator of bytes"
    )


def _place(argument: str, path: Iterable[object]) -> str:
    return argument + "".join(
        f'["{repr(step)[1:-1]}"]' if isinstance(step, str) else f"[{step}]" for step in path
    )


def _slots(value: object, path: list[object]) -> Iterator[tuple[Slot, list[object]]]:
    """Iterate over the slots in an encoded *value*, and the way to each."""
    if isinstance(value, Slot):
        yield value, path
    elif isinstance(value, dict):
        for name, item in cast("dict[object, object]", value).items():
            yield from _slots(item, [*path, name])
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _slots(item, [*path, index])


def _fill(value: object) -> None:
    items: Iterable[tuple[Any, object]] = ()
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[object]", value))
    for key, item in items:
        if isinstance(item, Slot):
            cast("dict[Any, object]", value)[key] = item.url
        else:
            _fill(item)
