"""Finding the files in an output: which strings are URLs of files, and their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from msgspec import Struct, field

from replicate_async.core.origin import Base, origin_of
from replicate_async.files.data_url import is_base64

Place: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a part of an output."""

_DELIVERY: Final = "replicate.delivery"
_COMPONENTS: Final = "#/components/schemas/"
_LONGEST_CHAIN: Final = 8
_SCHEMES: Final = ("https://", "http://", "data:")


class Shape(Struct, frozen=True):
    """The places of files in the output of a model, from its schema.

    `parts` has the shapes of properties by name, and the shape of list items under None.
    """

    is_text: bool = False
    """Whether the output is one text, as a list of chunks."""
    file: bool = False
    parts: Mapping[str | None, Shape] = field(default_factory=dict["str | None", "Shape"])

    def inside(self, key: str | int) -> Shape:
        """Return the shape of the part at *key*."""
        found = self.parts.get(key) if isinstance(key, str) else None
        return found or self.parts.get(None) or _NOTHING


Seen: TypeAlias = dict[str, Shape]
_NOTHING: Final = Shape()


def output_shape(openapi_schema: Mapping[str, Any] | None) -> Shape | None:
    """Return the shape of the outputs of a version with *openapi_schema*.

    None when the schema does not describe the output.
    """
    components = _mapping(_mapping(_mapping(openapi_schema).get("components")).get("schemas"))
    output = _mapping(components.get("Output"))
    if not output:
        return None
    if _concatenates(output, components, _LONGEST_CHAIN):
        return Shape(is_text=True)
    return _shape(output, components, {})


def _concatenates(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> bool:
    """Return whether *schema* says that a list of strings is one text."""
    if schema.get("x-cog-array-display") == "concatenate":
        return True
    ref = schema.get("$ref")
    inner = list(_choices(schema))
    if isinstance(ref, str):
        inner.append(_referred(ref, components))
    return depth > 0 and any(_concatenates(i, components, depth - 1) for i in inner)


def _shape(schema: Mapping[str, Any], components: Mapping[str, Any], seen: Seen) -> Shape:
    ref = schema.get("$ref")
    if isinstance(ref, str):
        if ref not in seen:
            seen[ref] = _NOTHING  # ends the recursion of a schema that refers to itself
            seen[ref] = _shape(_referred(ref, components), components, seen)
        return seen[ref]
    file = schema.get("format") == "uri"
    parts: dict[str | None, Shape] = {}
    for key, inner in _mapping(schema.get("properties")).items():
        parts[key] = _shape(_mapping(inner), components, seen)
    for name in ("items", "additionalProperties"):
        if inner := _mapping(schema.get(name)):
            parts[None] = _shape(inner, components, seen)
    for choice in _choices(schema):
        found = _shape(choice, components, seen)
        file = file or found.file
        parts |= found.parts
    if not file and all(part is _NOTHING for part in parts.values()):
        return _NOTHING
    return Shape(file=file, parts=parts)


def _referred(ref: str, components: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(components.get(ref.removeprefix(_COMPONENTS)))


def _choices(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("allOf", "anyOf", "oneOf"):
        choices: object = schema.get(name)
        if isinstance(choices, list):
            yield from map(_mapping, cast("list[object]", choices))


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def is_file_url(text: str, base: Base) -> bool:
    """Return whether *text* is the URL of a file, without a schema that says so.

    Files are URLs of the delivery host, of the API's own files, and data URLs in base64. Any other
    URL may be the answer of a model, and stays text.
    """
    if text[:5].lower() == "data:":
        return is_base64(text)
    if text[:4].lower() != "http":
        return False
    origin = origin_of(text)
    if origin is None or not base.may_fetch(text, any_port=True):
        return False
    if origin == base.origin:
        target = base.target(text)
        if target is None:  # not an operation; an embedded server delivers files there
            return base.is_loopback
        return target.startswith("/files/")
    return origin.host == _DELIVERY or origin.host.endswith(f".{_DELIVERY}")


def wrapped(
    output: object, base: Base, shape: Shape | None, wrap: Callable[[str, Place], object]
) -> Any:
    """Return *output* with ``wrap(url, place)`` in the place of every file.

    With a *shape*, a URL is a file where the schema has one; without, `is_file_url` decides.
    """

    def walk(value: object, shape: Shape | None, place: Place) -> object:
        if shape is _NOTHING:
            return value
        if isinstance(value, str):
            is_file = is_file_url(value, base) if shape is None else shape.file and is_url(value)
            return wrap(value, place) if is_file else value
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [
                walk(item, shape and shape.inside(index), (*place, index))
                for index, item in enumerate(items)
            ]
        if isinstance(value, dict):
            return {
                key: walk(item, shape and shape.inside(key), (*place, key))
                for key, item in cast("dict[str, object]", value).items()
            }
        return value

    if (shape.is_text and isinstance(output, list)) if shape is not None else _is_text(output):
        return cast("list[object]", output).copy()
    try:
        return walk(output, shape, ())
    except RecursionError:
        return output  # no model nests files that deep


def _is_text(output: object) -> bool:
    """Return whether *output* is a list of strings, none of them a URL."""
    return isinstance(output, list) and all(map(_is_plain, cast("list[object]", output)))


def _is_plain(value: object) -> bool:
    """Return whether *value* is a text that cannot be a URL, a quick test for tokens."""
    return isinstance(value, str) and value[:4].lower() not in {"http", "data"}


def is_url(text: str) -> bool:
    """Return whether *text* looks like a URL."""
    return text[:8].lower().startswith(_SCHEMES) and not any(map(str.isspace, text[:2048]))


def strings_in(output: object, place: Place = ()) -> Iterator[tuple[str, Place]]:
    """Yield every string in *output* with its place."""
    if isinstance(output, str):
        yield output, place
    elif isinstance(output, list):
        for index, item in enumerate(cast("list[object]", output)):
            yield from strings_in(item, (*place, index))
    elif isinstance(output, dict):
        for key, item in cast("dict[str, object]", output).items():
            yield from strings_in(item, (*place, key))


def at(output: object, place: Place) -> object:
    """Return the part of *output* at *place*, or None."""
    found: Any = output
    if place == (0,) and not isinstance(output, list | dict):
        return output  # the first file of a stream may be the whole output
    for key in place:
        if not isinstance(found, list | dict):
            return None
        try:
            found = cast("Any", found)[key]
        except (LookupError, TypeError):
            return None
    return found
