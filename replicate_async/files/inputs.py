"""A model's input, made into plain JSON values; its files wait to be sent."""

from __future__ import annotations

from base64 import b64encode
from collections import UserString
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Reversible, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import form_file, is_file
from replicate_async.files.media import describe
from replicate_async.files.output import FileOutput
from replicate_async.files.readers import reason_of
from replicate_async.files.values import (
    Record,
    UnsendableError,
    converted,
    fields_of,
    has_fields,
    scalar,
)
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

_SCALARS: Final[frozenset[type]] = frozenset({int, bool, type(None)})
_SCALAR_CLASSES: Final = (str, int, float)
_BYTES: Final = (bytes, bytearray, memoryview)
_CONTAINERS: Final = (Mapping, AbstractSet, MappingView, Sequence)
_TEXTS: Final[frozenset[type]] = frozenset({str})
_FLOATS: Final[frozenset[type]] = frozenset({float})


class FileSlot:
    """A file in an input: the value that was given for it, and the URL that takes its place."""

    __slots__ = ("url", "value")

    def __init__(self, value: object) -> None:
        self.value: object = value
        self.url: str = ""


class EncodedInput:
    """An input as the API takes it, but for its files, which are still to be sent."""

    __slots__ = ("bytes_in_data_urls", "encoding", "slots", "values")

    def __init__(
        self, values: dict[str, Any], slots: list[FileSlot], encoding: FileEncoding, inlined: int
    ) -> None:
        self.values: dict[str, Any] = values
        self.slots: list[FileSlot] = slots
        self.encoding: FileEncoding = encoding
        self.bytes_in_data_urls: int = inlined

    def places(self) -> list[tuple[FileSlot, str]]:
        """Return each file once, with where it is found first."""
        found: dict[FileSlot, str] = {}
        for slot, path in _slots(self.values, []):
            found.setdefault(slot, _place("input", path))
        return list(found.items())

    def fill(self) -> None:
        """Put the URLs of the files in their places."""
        _fill(self.values)
        self.slots = []


def encode_input(given: Record | None, encoding: FileEncoding = "auto") -> EncodedInput:
    """Return *given* as the API takes it, without the inputs that are None.

    The API refuses an explicit null even for optional inputs, so None means "left out". Bytes that
    are few become a data URL, an uploaded `File` its URL; all else that is a file waits in a
    `FileSlot`. Raises `InvalidArgumentError` naming the input.
    """
    encoder = _Encoder(encoding)
    values = {} if given is None else encoder.encode(given, "input")
    if None in values.values():
        values = {name: value for name, value in values.items() if value is not None}
    return EncodedInput(values, encoder.slots, encoding, encoder.inlined)


def canonical_input(given: Record) -> EncodedInput:
    """Return *given* as it is sent, but with every file in a `FileSlot`, uploaded ones included.

    What tells inputs apart is made of this, so that it is the same in every process.
    """
    encoder = _Encoder("upload", keep_files=True)
    values = encoder.encode(given, "input")
    left = {name: value for name, value in values.items() if value is not None}
    return EncodedInput(left, encoder.slots, "upload", 0)


def encode_json(given: Record, argument: str) -> dict[str, Any]:
    """Return *given* as plain JSON values; raises `InvalidArgumentError` naming the key."""
    values = _Encoder("auto").encode(given, argument)
    for _, path in _slots(values, []):
        raise InvalidArgumentError(
            f"{_place(argument, path)} is a file; {argument} takes plain values only."
        )
    return values


def is_record(given: object) -> bool:
    """Tell whether *given* names values, as an input must."""
    return isinstance(given, Mapping | msgspec.Struct) or has_fields(given)


def field_of(given: Record, name: str) -> object:
    """Return the value that *given* has for *name*, None if there is none; UUIDs as text."""
    found = _names_of(given, "input").get(name)
    if found is None or is_file(found):
        return found
    try:
        return encode_json({name: found}, "input")[name]
    except InvalidArgumentError:
        return found


def _names_of(given: object, argument: str) -> Mapping[Any, Any]:
    """Return the values that *given* names; those of a struct are all that are set."""
    if isinstance(given, msgspec.Struct):
        names = zip(given.__struct_fields__, given.__struct_encode_fields__, strict=True)
        return {
            encoded: value
            for name, encoded in names
            if (value := getattr(given, name)) is not msgspec.UNSET
        }
    found: object = given if _is_mapping(given) else fields_of(given)
    if _is_mapping(found):
        return cast("Mapping[Any, Any]", found)
    raise InvalidArgumentError(
        f"{argument}={shorten(given)} is a {type(given).__name__}; it must be a mapping such as "
        '{"prompt": "..."}, or a msgspec Struct.'
    )


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


class _Encoder:
    """One pass over a value.

    With *keep_files*, files that have a URL wait in slots as well.
    """

    __slots__ = ("_encoding", "_files", "_keep_files", "_known", "inlined", "slots")

    def __init__(self, encoding: FileEncoding, *, keep_files: bool = False) -> None:
        self._encoding = encoding
        self._keep_files = keep_files
        self._known: dict[object, FileSlot] = {}
        self._files = 0
        self.inlined = 0
        self.slots: list[FileSlot] = []

    def encode(self, given: Any, argument: str) -> dict[str, Any]:
        cause: BaseException | None = None
        try:
            # Most inputs are a plain dict.
            kind: type = type(given)  # pyright: ignore[reportUnknownVariableType] - it may be any
            return self._mapping(given if kind is dict else _names_of(given, argument))
        except UnsendableError as unsendable:
            place, cause = _place(argument, reversed(unsendable.path)), unsendable.__cause__
            error = InvalidArgumentError(f"{place}{unsendable.problem}")
        except RecursionError:
            place = self._deepest(given, argument)
            error = InvalidArgumentError(f"{place} is nested too deep for JSON, or holds itself.")
        except InvalidArgumentError:
            raise
        except Exception as own:  # noqa: BLE001 - of the caller's own mapping or class
            cause = own
            error = InvalidArgumentError(f"{argument} cannot be read: {reason_of(own)}.")
        raise error from cause

    def _deepest(self, given: object, argument: str) -> str:
        """Return which part of *given* is nested too deep."""
        for name, value in _names_of(given, argument).items():
            try:
                self._plain(value)
            except RecursionError:
                return _place(argument, [name])
            except Exception:  # noqa: BLE001, S112 - it is another part that is looked for
                continue
        return argument

    def _plain(self, value: object) -> object:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is dict:
            return self._mapping(cast("dict[Any, Any]", value))
        if kind is list:
            return self._list(cast("list[object]", value))
        if isinstance(value, Enum):
            return self._plain(cast("object", value.value))
        if isinstance(value, _SCALAR_CLASSES):
            return _checked(scalar(value))
        return self._other(value)

    def _mapping(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        converted_keys = False
        name: Any
        value: Any
        for name, value in given.items():
            if type(name) is not str or not name.isascii():
                name, converted_keys = _key(name), True  # noqa: PLW2901 - the same, as JSON has it
            kind: type = type(value)  # pyright: ignore[reportUnknownVariableType] - it may be any
            if (
                kind in _SCALARS
                or (kind is str and value.isascii())
                or (kind is float and isfinite(value))
            ):
                plain[name] = value
                continue
            try:
                plain[name] = self._plain(value)
            except Exception as error:  # noqa: BLE001 - raised again, with its place
                raise _placed(error, name)  # noqa: B904 - it has its cause
        if converted_keys and len(plain) < len(given):
            raise UnsendableError(" has keys that are the same as strings; rename one of them.")
        return plain

    def _list(self, given: Iterable[Any]) -> list[object]:
        kind: type = type(given)
        if kind is list and _is_plain(given):
            return list(given)
        plain: list[object] = []
        for value in given:
            try:
                plain.append(self._plain(value))
            except Exception as error:  # noqa: BLE001 - raised again, with its place
                raise _placed(error, len(plain))  # noqa: B904 - it has its cause
        return plain

    def _set(self, given: AbstractSet[object]) -> list[object]:
        """Encode a set in an order that does not depend on the process."""
        files = self._files
        items = self._list(given)
        if isinstance(given, Reversible):  # such as the keys of a dict: it has an order of its own
            return items
        if self._files != files:
            raise UnsendableError(" is a set with files in it, which has no order; write a list.")
        kinds = set(map(type, items))
        if kinds <= {int, float} or kinds == {str}:
            return sorted(cast("list[Any]", items))
        return sorted(items, key=partial(msgspec.json.encode, order="deterministic"))

    def _other(self, value: object) -> object:
        """Encode what is neither a scalar nor a plain list or dict."""
        if isinstance(value, _BYTES):
            return self._bytes(cast("bytes | bytearray | memoryview", value))
        if isinstance(value, File | FileOutput):
            return self._uploaded(value)
        if isinstance(value, msgspec.Struct):
            return self._struct(value)
        if isinstance(value, _CONTAINERS) and not isinstance(value, UserString):
            return self._container(cast("object", value))
        named = has_fields(value)
        if form_file(value) is not None or (not named and is_file(value)):
            return self._slot(value)
        return self._plain(fields_of(value) if named else converted(value))

    def _container(self, value: object) -> object:
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value))  # type: ignore[redundant-cast] # for pyright
        if isinstance(value, AbstractSet):
            return self._set(cast("AbstractSet[object]", value))
        return self._list(cast("Iterable[object]", value))

    def _bytes(self, value: bytes | bytearray | memoryview) -> object:
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        small = size <= LARGEST_DATA_URL and self.inlined + size <= MOST_IN_DATA_URLS
        if self._encoding == "upload" or not small:
            return self._slot(value)
        self._files += 1
        self.inlined += size
        content = bytes(value)
        return data_url(content, describe(None, content)[1])

    def _uploaded(self, value: File | FileOutput) -> object:
        if self._keep_files:
            return self._slot(value)
        self._files += 1
        return value.urls.get if isinstance(value, File) else value.url

    def _slot(self, value: object) -> FileSlot:
        self._files += 1
        # The same file in two places is sent once, and an iterator cannot be read twice.
        key: object = value if isinstance(value, Path) else id(value)
        slot = self._known.get(key)
        if slot is None:
            slot = self._known[key] = FileSlot(value)
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


def _is_plain(items: Iterable[Any]) -> bool:
    """Tell of most lists, without a loop, that they can be sent as they are."""
    kinds = set[type](map(type, items))
    return (
        kinds <= _SCALARS
        or (kinds <= _TEXTS and all(map(str.isascii, items)))
        or (kinds <= _FLOATS and all(map(isfinite, items)))
    )


def _checked(value: object) -> object:
    """Return a number or a text; raises `UnsendableError` when JSON cannot say it."""
    if isinstance(value, float) and not isfinite(value):
        raise UnsendableError(f" is {value}, which JSON cannot say.")
    if isinstance(value, str):
        _check_text(value)
    return value


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UnsendableError(f"={shorten(text)} {_bad_text(error)}") from None


def _bad_text(error: UnicodeEncodeError) -> str:
    return f"is not valid Unicode ({error.reason}); decode it with the right encoding."


def _key(name: object) -> str:
    """Return the key of a mapping as JSON has it."""
    plain = scalar(name)
    if not isinstance(plain, str):
        raise UnsendableError(f" has the key {shorten(name)}; keys must be strings.")
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise UnsendableError(f" has the key {shorten(name)}, which {_bad_text(error)}") from None
    return plain


def _placed(error: Exception, step: object) -> Exception:
    """Return *error* with one more step to its place; those of other code become the cause."""
    if isinstance(error, RecursionError):
        return error
    if not isinstance(error, UnsendableError):
        found = UnsendableError(f" cannot be read: {reason_of(error)}.")
        found.__cause__ = error
        error = found
    error.path.append(step)
    return error


def data_url(content: bytes, kind: str) -> str:
    """Return *content* as a data URL of the media type *kind*."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def _place(argument: str, path: Iterable[object]) -> str:
    return argument + "".join(
        f'["{repr(step)[1:-1]}"]' if isinstance(step, str) else f"[{step}]" for step in path
    )


def _slots(value: object, path: list[object]) -> Iterator[tuple[FileSlot, list[object]]]:
    """Iterate over the slots in an encoded *value*, and the way to each."""
    if isinstance(value, FileSlot):
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
        if isinstance(item, FileSlot):
            cast("dict[Any, object]", value)[key] = item.url
        else:
            _fill(item)
