"""What is wrong with an input, in sentences that name the input that was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, NamedTuple, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.core.problem import InvalidField
from replicate_async.interface.read import (
    Interface,
    Schema,
    alternatives,
    listed,
    mapping,
    resolve,
    type_words,
)
from replicate_async.interface.validation import check

_LONGEST_VALUE: Final = 60
_LONGEST_DEFAULT: Final = 40
_MOST_LISTED: Final = 12
_MOST_LINES: Final = 20
_MOST_COMPARED: Final = 1000
"""Names that are compared with a wrong one, which takes 0.1 ms for each."""
_MORE: Final = "More of it is wrong."
_DEEPEST: Final = 16
_CUTOFF: Final = 0.6
_JSON: Final = (str, int, float, type(None))
_A_URL: Final = "https://example.com/file"
"""Stands for a file that is not sent yet."""
_ANY: Final = mapping(None)
_ADDED: Final = "additional_property_not_allowed"
_COMBINED: Final = frozenset({"number_any_of", "number_one_of", "number_all_of"})
"""Faults that others of the same value explain."""
_TOO: Final = {
    "number_gte": "small",
    "number_gt": "small",
    "number_lte": "large",
    "number_lt": "large",
    "string_gte": "short",
    "string_lte": "long",
}
_LENGTHS: Final = frozenset({"string_gte", "string_lte"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with an input."""

    fields: tuple[InvalidField, ...]
    """As the API's own 422 names them; unknown names, which the API ignores, come first."""
    lines: tuple[str, ...]
    """A sentence about each input that is wrong, of the first 20."""

    def message(self, ref: str) -> str:
        """Return the sentences as the message of an error about the model *ref*."""
        if len(self.lines) == 1:
            return f"{ref}: {self.lines[0]}"
        count = "Inputs" if self.lines[-1] == _MORE else f"{len(self.lines)} inputs"
        return "\n  ".join((f"{count} of {ref} are wrong:", *self.lines))


def refuse(
    values: Mapping[str, object],
    interface: Interface,
    *,
    unknown: bool = True,
    secrets: Collection[str] = (),
) -> Refusal | None:
    """Return what is wrong with the input *values* by a model's schema, None if it is valid.

    *values* are JSON values; any other value is a file that will have a URL. Names that the model
    does not have are wrong if *unknown*. The texts in *secrets* are not shown.
    """
    if interface.inputs is None:
        return None
    schema = mapping(interface.components.get("Input"))
    unknown = unknown or schema.get("additionalProperties") is False
    names = [name for name in values if name not in interface.inputs] if unknown else []
    mistaken = [
        InvalidField(
            field="input", type=_ADDED, description=f"Additional property {name} is not allowed"
        )
        for name in names
    ]
    found = check(with_urls(values), schema, interface.components)
    told = set(mistaken)
    fields = [field for field in found if field not in told]
    if not names and not fields:
        return None
    known = interface.inputs
    sentences = _Lines(interface, values, frozenset(secrets)).of(fields, names)
    # Each takes time by the size of input and schema: all of thousands would hold the event loop.
    lines = list(
        islice(chain((unknown_input(name, known) for name in names), sentences), _MOST_LINES + 1)
    )
    lines[_MOST_LINES:] = [_MORE for _ in lines[_MOST_LINES:]]
    return Refusal((*mistaken, *fields), tuple(lines))


def with_urls(value: object) -> Any:
    """Return *value* with a URL in place of each value that is not JSON: a file."""
    if isinstance(value, _JSON):
        return value
    if isinstance(value, Mapping):
        named = cast("Mapping[str, object]", value)
        return {name: with_urls(each) for name, each in named.items()}
    if isinstance(value, list | tuple):
        return [with_urls(each) for each in cast("Sequence[object]", value)]
    return _A_URL


def unknown_input(name: str, known: Collection[str]) -> str:
    """Return the sentence about an input that a model does not have."""
    meant = near(name, known)
    if meant is not None:
        return f"{_name(name)}: there is no such input; did you mean {meant}?"
    takes = ", ".join(known) if len(known) <= _MOST_LISTED else f"{len(known)} inputs"
    return f"{_name(name)}: there is no such input; it takes {takes or 'no inputs'}."


def near(given: str, known: Collection[str]) -> str | None:
    """Return the one of *known* that *given* is most like, by its letters' case or without."""
    from difflib import get_close_matches  # noqa: PLC0415 - errors only: 2 ms to import

    lower = {each.lower(): each for each in known}
    if given.lower() in lower:
        return lower[given.lower()]
    if len(known) > _MOST_COMPARED:
        return None
    if found := get_close_matches(given, known, 1, _CUTOFF):
        return found[0]
    found = get_close_matches(given.lower(), lower, 1, _CUTOFF)
    return lower[found[0]] if found else None


def takes(schema: Schema, components: Schema) -> str:
    """Return what a resolved *schema* takes, with its article: "an integer 1..10"."""
    if choices := _choices_of(schema):
        return f"one of {_choices(choices)}" if len(choices) > 1 else show(choices[0])
    if is_secret(schema):
        return "a Secret"
    words = type_words(schema, components)
    if words == "anything":
        return words
    return f"an {words}" if words[0] in "aeio" else f"a {words}"


def is_secret(schema: Schema) -> bool:
    """Whether a resolved *schema* is that of a secret."""
    return schema.get("format") == "password" or schema.get("x-cog-secret") is True


class _Place(NamedTuple):
    """A part of an input that is wrong: its name, value and schema."""

    name: str
    value: object
    schema: Schema
    secret: bool
    """Whether the value must not be shown."""


@dataclass(frozen=True, slots=True)
class _Lines:
    """Writes the sentences about one input."""

    interface: Interface
    values: Mapping[str, object]
    secrets: frozenset[str]

    def of(self, fields: Sequence[InvalidField], unknown: Sequence[str]) -> Iterator[str]:
        """Yield a sentence for each value that *fields* refuse.

        An input that is missing because its name has the wrong case is among the *unknown* ones.
        """
        renamed = {name.lower() for name in unknown}
        explained = _parents_of(fields)
        told: set[str] = set()
        for field in fields:
            path = field.field.removeprefix("input").removeprefix(".")
            if field.type == "required":
                name = field.description.removesuffix(" is required")
                place = self._part(self._find(path), name)
                if path or name.lower() not in renamed:
                    yield f"{place.name} is required: {self._takes(place)}."
            elif path not in told and not (field.type in _COMBINED and field.field in explained):
                told.add(path)
                yield f"{self._sentence(self._find(path), field)}"

    def _find(self, path: str) -> _Place:
        """Return the part at *path*, which joins names and indexes with points."""
        place = _Place("", self.values, self._resolved(self.interface.components["Input"]), False)
        while path:
            names = _names(place.value)
            name = max(
                (each for each in names if path == each or path.startswith(f"{each}.")),
                key=len,
                default=path,
            )
            path = path[len(name) + 1 :]
            place = self._part(place, name)
        return place

    def _part(self, place: _Place, name: str) -> _Place:
        value: Any = place.value
        parts = (place.schema, *alternatives(place.schema, self.interface.components))
        if isinstance(value, list):
            index = int(name)
            schema = next((mapping(each["items"]) for each in parts if "items" in each), _ANY)
            shown, inner = f"{place.name}[{index}]", cast("list[object]", value)[index]
        else:
            schema = next((found for each in parts if (found := _property(each, name))), _ANY)
            shown = f"{place.name}.{_name(name)}" if place.name else _name(name)
            inner = cast("Mapping[str, object]", value).get(name) if _names(value) else None
        found = self._resolved(schema)
        return _Place(shown, inner, found, self._holds_secret(found))

    def _resolved(self, schema: object) -> Schema:
        return resolve(mapping(schema), self.interface.components)

    def _holds_secret(self, schema: Schema) -> bool:
        """Whether a value of *schema* is a secret, or may have one in it."""
        left, seen = [schema], set[int]()
        while left:
            found = left.pop()
            if is_secret(found):
                return True
            inner: list[object] = [*mapping(found.get("properties")).values()]
            inner += [found.get("items"), found.get("additionalProperties")]
            inner += [*listed(found.get("anyOf")), *listed(found.get("oneOf"))]
            new = [each for each in inner if each and id(each) not in seen]
            seen.update(map(id, new))
            left += map(self._resolved, new)
        return False

    def _sentence(self, place: _Place, field: InvalidField) -> str:
        name, value, _, secret = place
        if not name:
            return f"{field.description}."
        hidden = secret or self._shows_secret(value)
        bare = hidden or value is None or _is_file(value)
        subject = name if bare else f"{name}={show(value)}"
        return f"{subject}{self._problem(place._replace(secret=hidden), field)}."

    def _shows_secret(self, value: object) -> bool:
        """Whether *value* is one of the texts that are not shown, or has one in it."""
        if isinstance(value, str):
            return value in self.secrets
        inner = _parts(value) if self.secrets else ()
        return any(map(self._shows_secret, inner))

    def _problem(self, place: _Place, field: InvalidField) -> str:
        kind, schema = field.type, place.schema
        default = "" if place.secret else _default(schema)
        if choices := _choices_of(schema):
            return _no_choice(place, choices, default)
        if kind == "pattern":
            return f" does not match {_printable(str(schema.get('pattern')))}{default}"
        if kind == "format" and schema.get("format") == "uri":
            return _no_url(place)
        takes = _length(schema) if kind in _LENGTHS else self._takes(place)
        if kind in _TOO:
            return f" is too {_TOO[kind]}; it takes {takes}{default}"
        if kind in {"invalid_type", *_COMBINED}:
            return f" is {_kind(place.value)}; it takes {takes}{default}"
        return f": {field.description}"

    def _takes(self, place: _Place) -> str:
        return takes(place.schema, self.interface.components)


def _parents_of(fields: Iterable[InvalidField]) -> set[str]:
    """Return the paths around the parts of which *fields* say why they are refused."""
    parents: set[str] = set()
    for field in fields:
        path = "" if field.type in _COMBINED else field.field
        while path := path.rpartition(".")[0]:
            parents.add(path)
    return parents


def _no_choice(place: _Place, choices: Sequence[object], default: str) -> str:
    texts = {_text(each): each for each in choices}
    guess = not place.secret and not _is_file(place.value)
    meant = near(_text(place.value), texts) if guess else None
    them = f"{_choices(choices)}{default}"
    if meant is None:
        return f" is none of its choices; it takes {them}"
    return f" is none of its choices; did you mean {show(texts[meant])}? It takes {them}"


def _no_url(place: _Place) -> str:
    path = show(place.value)
    whole = not place.secret and not path.endswith("…")
    given = f"Path({path})" if whole else "a Path"
    return f" is no URL; for a file on this machine give {given}"


def _is_file(value: object) -> bool:
    return not isinstance(value, (*_JSON, list, Mapping))


def _names(value: object) -> list[str]:
    if isinstance(value, list):
        return list(map(str, range(len(cast("list[object]", value)))))
    return list(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else []


def _parts(value: object) -> Collection[object]:
    """Return the items of a list, or the values of a mapping."""
    if isinstance(value, list):
        return cast("list[object]", value)
    return cast("Mapping[str, object]", value).values() if isinstance(value, Mapping) else ()


def _property(schema: Schema, name: str) -> Schema:
    found = mapping(schema.get("properties")).get(name)
    return mapping(schema.get("additionalProperties") if found is None else found)


def _choices_of(schema: Schema) -> Sequence[object]:
    """Return the choices of *schema*, each once, without null."""
    choices: list[object] = []
    for each in listed(schema.get("enum")):
        if each is not None and each not in choices:
            choices.append(each)
    return choices


def _choices(choices: Sequence[object]) -> str:
    words = ", ".join(map(show, choices[:_MOST_LISTED]))
    more = len(choices) - _MOST_LISTED
    return f"{words} and {more} more" if more > 0 else words


def _text(value: object) -> str:
    return value if isinstance(value, str) else show(value)


def _default(schema: Schema) -> str:
    """Return the default of a resolved *schema* in brackets, if it has a short one."""
    if schema.get("default") is None:
        return ""
    text = show(schema["default"], _LONGEST_DEFAULT + 1)
    return f" (default {text})" if len(text) <= _LONGEST_DEFAULT else ""


def _length(schema: Schema) -> str:
    low, high = schema.get("minLength"), schema.get("maxLength")
    if low == high:
        return f"{low} characters"
    if low is None or high is None:
        return f"at least {low} characters" if high is None else f"at most {high} characters"
    return f"{low} to {high} characters"


def _kind(value: object) -> str:
    """Return the type of a JSON value with its article, as Python calls it."""
    if value is None:
        return "None"
    if _is_file(value):
        return "a file"
    name = "dict" if isinstance(value, Mapping) else type(value).__name__
    return f"an {name}" if name == "int" else f"a {name}"


def show(value: object, longest: int = _LONGEST_VALUE) -> str:
    """Return a JSON value as Python with double quotes, at most *longest* characters of it."""
    text = _shown(value, longest, 0)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _shown(value: object, longest: int, depth: int) -> str:
    if isinstance(value, str):
        cut = value[: longest + 1]
        return _printable(msgspec.json.encode(cut).decode())
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        named = list(cast("Mapping[str, object]", value).items())[:longest]
        pairs = (f"{_shown(name, longest, depth)}: " for name, _ in named)
        inner = [_shown(each, longest, depth + 1) for _, each in named]
        return f"{{{', '.join(map(''.join, zip(pairs, inner, strict=True)))}}}"
    if isinstance(value, list):
        items = cast("list[object]", value)[:longest]
        return f"[{', '.join(_shown(each, longest, depth + 1) for each in items)}]"
    return "a file" if _is_file(value) else shorten(value, longest)


def _name(name: str) -> str:
    cut = name if len(name) <= _LONGEST_VALUE else f"{name[: _LONGEST_VALUE - 1]}…"
    return _printable(cut)


def _printable(text: str) -> str:
    """Return *text* with escapes for characters that a terminal would not show."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
