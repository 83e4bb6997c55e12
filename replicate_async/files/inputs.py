"""Encoding the input of a model to JSON values; its files become slots, and are sent later."""

from __future__ import annotations

from base64 import b64encode
from collections import UserString
from collections.abc import Callable, Iterable, Mapping, MappingView, Reversible, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import lru_cache, partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec.structs import FieldInfo

from replicate_async.core.endpoint import shorten
from replicate_async.core.secret import Secret
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import form_file, is_file
from replicate_async.files.values import (
    Record,
    UnsendableError,
    converted,
    fields_of,
    has_fields,
    reason_of,
    scalar,
)
from replicate_async.schemas import File

if TYPE_CHECKING:
    from replicate_async.files.output import FileOutput

FileEncoding: TypeAlias = Literal["auto", "upload", "data-url"]
"""How the files of an input are sent: depending on their size, always or never uploaded."""

LARGEST_DATA_URL: Final = 256_000
"""Bytes of a file that becomes a data URL; the API asks for an upload above that."""
LARGEST_FORCED_DATA_URL: Final = 1_000_000
"""Bytes of a file that the API takes as a data URL at most."""
MAX_IN_DATA_URLS: Final = 10_000_000
"""Bytes of all data URLs of an input together, before their encoding."""

LARGEST_UPLOAD: Final = 100_000_000
"""Bytes of a file that the API takes as an upload at most."""
LONGEST_FILENAME: Final = 255
"""Bytes of UTF-8 that the name of an upload may have."""

_SCALARS: Final[frozenset[type]] = frozenset({int, bool, type(None)})
_SCALAR_CLASSES: Final = (str, int, float)
_BYTES: Final = (bytes, bytearray, memoryview)
_CONTAINERS: Final = (Mapping, AbstractSet, MappingView, Sequence)
_COLLECTIONS: Final[frozenset[type]] = frozenset({list, dict, set})
_TEXTS: Final[frozenset[type]] = frozenset({str})
_FLOATS: Final[frozenset[type]] = frozenset({float})


class FileSlot(msgspec.Struct, eq=False):
    """A file in an input that waits to be sent: its value, its place, and the URL it will get."""

    value: object
    place: str
    """Where in the input the file is, or is first, such as ``input["image"]``."""
    url: str = ""
    _holders: list[tuple[Any, object]] = msgspec.field(default_factory=list["tuple[Any, object]"])

    def held_by(self, container: dict[str, Any] | list[object], key: object) -> None:
        """Note that ``container[key]`` is this slot."""
        self._holders.append((container, key))

    def fill(self) -> None:
        """Put the URL into all places of the slot."""
        for container, key in self._holders:
            container[key] = self.url


class EncodedInput(msgspec.Struct, eq=False):
    """An input as the API takes it, with slots in the places of files that are not sent yet."""

    values: dict[str, Any]
    slots: list[FileSlot]
    encoding: FileEncoding
    bytes_in_data_urls: int
    secrets: list[str]
    """The texts of the `Secret` values, which no error shows."""

    def fill(self) -> None:
        """Put the URLs of the files in their places."""
        for slot in self.slots:
            slot.fill()
        self.slots = []


def encode_input(given: Record | None, encoding: FileEncoding = "auto") -> EncodedInput:
    """Return *given* as the API takes it, without the inputs that are None.

    The API refuses an explicit null also for optional inputs, so None means "left out". A few bytes
    become a data URL, and an uploaded `File` its URL; every other file becomes a `FileSlot`. Raises
    `InvalidArgumentError` that names the input.
    """
    return _encoded(given, _Encoder("input", encoding))


def canonical_input(given: Record) -> EncodedInput:
    """Return *given* as it is sent, but with a `FileSlot` for every file, uploaded ones included.

    The digest of an input is made from it, so it is the same in every process.
    """
    return _encoded(given, _Encoder("input", "upload", keep_files=True))


def _encoded(given: Record | None, encoder: _Encoder) -> EncodedInput:
    values = {} if given is None else encoder.encode(given)
    if None in values.values():
        for name in [name for name, value in values.items() if value is None]:
            del values[name]
    return EncodedInput(values, encoder.slots, encoder.encoding, encoder.inlined, encoder.secrets)


def encode_json(given: Record, argument: str) -> dict[str, Any]:
    """Return *given* as plain JSON values; raises `InvalidArgumentError` naming the key."""
    encoder = _Encoder(argument, "auto")
    values = encoder.encode(given)
    for slot in encoder.slots:
        raise InvalidArgumentError(f"{slot.place} is a file; {argument} takes plain values only.")
    return values


def is_record(given: object) -> bool:
    """Return whether *given* is a mapping or has fields, as an input must."""
    return isinstance(given, Mapping | msgspec.Struct) or has_fields(given)


def field_of(given: Record, name: str) -> object:
    """Return the value of the key or field *name*, encoded to JSON, or None without one."""
    found = _names_of(given, "input").get(name)
    if found is None or is_file(found):
        return found
    try:
        return encode_json({name: found}, "input")[name]
    except InvalidArgumentError:
        return found


def without_field(given: Record, name: str) -> dict[str, Any]:
    """Return the values of *given* that are sent, files included, without the one for *name*."""
    return {key: value for key, value in _sent_of(given, "input").items() if key != name}


def _names_of(given: object, argument: str) -> Mapping[Any, Any]:
    """Return the values of *given* by name; fields of a struct that are UNSET are left out."""
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


def _sent_of(given: object, argument: str) -> Mapping[Any, Any]:
    """Return the values of *given* by name; a Struct with ``omit_defaults`` leaves defaults out."""
    values = _names_of(given, argument)
    if isinstance(given, msgspec.Struct) and given.__struct_config__.omit_defaults:
        defaults = _defaults_of(type(given))
        return {
            name: value
            for name, value in values.items()
            if name not in defaults or not _is_default(value, defaults[name])
        }
    return values


@lru_cache(maxsize=256)
def _defaults_of(kind: type[msgspec.Struct]) -> Mapping[str, FieldInfo]:
    """Return the fields of a Struct that have a default, by the names that are sent."""
    fields = msgspec.structs.fields(kind)
    return {field.encode_name: field for field in fields if not field.required}


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


class _Encoder:
    """Encodes one value to JSON values, and collects its files.

    With *keep_files*, files that have a URL become slots as well.
    """

    __slots__ = (
        "_argument", "_files", "_keep_files", "_known", "_path", "encoding", "inlined", "secrets",
        "slots",
    )  # fmt: skip

    def __init__(self, argument: str, encoding: FileEncoding, *, keep_files: bool = False) -> None:
        self._argument = argument
        self._keep_files = keep_files
        self._known: dict[object, FileSlot] = {}
        self._files = 0
        # The keys that lead to the value being encoded; after an error, to the value at fault.
        self._path: list[object] = []
        self.encoding: FileEncoding = encoding
        self.inlined = 0
        self.secrets: list[str] = []
        self.slots: list[FileSlot] = []

    def encode(self, given: Any) -> dict[str, Any]:
        cause: BaseException | None = None
        try:
            # Most inputs are a plain dict.
            kind: type = type(given)  # pyright: ignore[reportUnknownVariableType] - it may be any
            return self._mapping(given if kind is dict else _sent_of(given, self._argument))
        except UnsendableError as unsendable:
            cause, problem = unsendable.__cause__, unsendable.problem
        except RecursionError:
            del self._path[1:]
            problem = " is nested too deep for JSON, or holds itself."
        except InvalidArgumentError:
            raise
        except Exception as error:  # noqa: BLE001 - a mapping or class of the caller may raise any
            cause, problem = error, f" cannot be read: {reason_of(error)}."
        raise InvalidArgumentError(f"{self._place()}{problem}") from cause

    def _place(self) -> str:
        return self._argument + "".join(
            f'["{repr(step)[1:-1]}"]' if isinstance(step, str) else f"[{step}]"
            for step in self._path
        )

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
            else:
                plain[name] = self._item(value, plain, name)
        if converted_keys and len(plain) < len(given):
            raise UnsendableError(" has keys that are the same as strings; rename one of them.")
        return plain

    def _list(self, given: Iterable[Any]) -> list[object]:
        kind: type = type(given)
        if kind is list and _is_plain(given):
            return list(given)
        plain: list[object] = []
        for value in given:
            plain.append(self._item(value, plain, len(plain)))
        return plain

    def _item(self, value: object, container: dict[str, Any] | list[object], key: object) -> object:
        """Return *value* encoded, which the caller puts into ``container[key]``."""
        self._path.append(key)
        plain = self._plain(value)
        if type(plain) is FileSlot:
            plain.held_by(container, key)
        self._path.pop()
        return plain

    def _set(self, given: AbstractSet[object]) -> list[object]:
        """Encode a set in an order that does not depend on the process."""
        files = self._files
        items = self._list(given)
        if isinstance(given, Reversible):  # such as the keys of a dict, which have an order
            return items
        if self._files != files:
            raise UnsendableError(" is a set with files in it, which has no order; write a list.")
        kinds = set(map(type, items))
        if kinds <= {int, float} or kinds == {str}:
            return sorted(cast("list[Any]", items))
        return sorted(items, key=partial(msgspec.json.encode, order="deterministic"))

    def _other(self, value: object) -> object:
        """Encode a value that is neither a scalar nor a plain list or dict."""
        from replicate_async.files.output import FileOutput  # noqa: PLC0415 - seldom in an input

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
        if isinstance(value, Secret):
            value = self._secret(value)
        else:
            value = fields_of(value) if named else converted(value)
        return self._plain(value)

    def _secret(self, value: Secret) -> str:
        text = value.get_secret_value()
        if problem := _bad_text(text):
            raise UnsendableError(f" is a Secret whose text {problem}")
        self.secrets.append(text)
        return text

    def _container(self, value: object) -> object:
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value))  # type: ignore[redundant-cast] # for pyright
        if isinstance(value, AbstractSet):
            return self._set(cast("AbstractSet[object]", value))
        return self._list(cast("Iterable[object]", value))

    def _bytes(self, value: bytes | bytearray | memoryview) -> object:
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        small = size <= LARGEST_DATA_URL and self.inlined + size <= MAX_IN_DATA_URLS
        if self.encoding == "upload" or not small:
            return self._slot(value)
        from replicate_async.files.media import describe  # noqa: PLC0415 - for files only

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
        # A file in two places is sent once: an iterator cannot be read twice.
        key: object = value if isinstance(value, Path) else id(value)
        slot = self._known.get(key)
        if slot is None:
            slot = self._known[key] = FileSlot(value, self._place())
            self.slots.append(slot)
        return slot

    def _struct(self, value: msgspec.Struct) -> object:
        config = value.__struct_config__
        if config.array_like:
            head = [] if config.tag is None else [config.tag]
            return self._list([*head, *msgspec.structs.astuple(value)])
        tag = {} if config.tag_field is None else {config.tag_field: config.tag}
        return self._mapping({**tag, **_sent_of(value, self._argument)})


def _is_default(value: object, field: FieldInfo) -> bool:
    default: object = field.default
    if field.default_factory is not msgspec.NODEFAULT and type(value) in _COLLECTIONS:
        default = cast("Callable[[], object]", field.default_factory)()
    return value is default or (type(value) is type(default) and value == default)


def _is_plain(items: Iterable[Any]) -> bool:
    """Return whether *items* are JSON values; recognizes most lists without a loop."""
    kinds = set[type](map(type, items))
    return (
        kinds <= _SCALARS
        or (kinds <= _TEXTS and all(map(str.isascii, items)))
        or (kinds <= _FLOATS and all(map(isfinite, items)))
    )


def _checked(value: object) -> object:
    """Return a number or a text; raises `UnsendableError` if JSON cannot hold it."""
    if isinstance(value, float) and not isfinite(value):
        raise UnsendableError(f" is {value}, which JSON cannot hold.")
    if isinstance(value, str) and (problem := _bad_text(value)):
        raise UnsendableError(f"={shorten(value)} {problem}")
    return value


def _key(name: object) -> str:
    """Return a key of a mapping as a JSON key."""
    plain = scalar(name)
    if not isinstance(plain, str):
        raise UnsendableError(f" has the key {shorten(name)}; keys must be strings.")
    if problem := _bad_text(plain):
        raise UnsendableError(f" has the key {shorten(name)}, which {problem}")
    return plain


def _bad_text(text: str) -> str:
    """Return why *text* cannot be encoded, or nothing."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"is not valid Unicode ({error.reason}); decode it with the right encoding."
    return ""


def data_url(content: bytes, kind: str) -> str:
    """Return *content* as a data URL of the media type *kind*."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
