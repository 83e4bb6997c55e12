"""Names and literals of generated code, from the text of a schema."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Final

_USED_NAMES: Final = frozenset(
    {
        *("Input", "Output", "TrainingInput", "MODEL", "TypedModel", "Struct", "Meta", "field"),
        *("Annotated", "Any", "Final", "Literal", "TypeAlias", "annotations"),
        *("FileInput", "FileOutput", "Secret", "str", "int", "float", "bool", "list", "dict"),
    }
)
"""Names that generated code gives another meaning."""
_SPECIAL: Final = re.compile(r"[\"'\\]")
_UNENCODABLE: Final = re.compile(r'["\\\x00-\x1f]')


def literal(value: object) -> str:
    """Return a scalar as `ruff format` writes it."""
    if not isinstance(value, str):
        return repr(value).replace("e+", "e")
    if value.isprintable() and not _SPECIAL.search(value):
        return f'"{value}"'
    quote = "'" if value.count('"') > value.count("'") else '"'
    # With both quotes in it, repr escapes the single ones and no others.
    body = repr(f"{value}'\"")[1:-4]
    return quote + re.sub(r"\\(.)|\"", lambda found: _requoted(found, quote), body) + quote


def _requoted(found: re.Match[str], quote: str) -> str:
    if found[0] in {"\\'", '"'}:
        char = found[0][-1]
        return f"\\{char}" if char == quote else char
    return found[0]


def python_names(keys: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Return a distinct identifier for each of *keys*, most often the key itself."""
    names: dict[str, None] = {}
    endings: dict[str, int] = {}  # tried once each, or thousands that are alike would take long
    for key in keys:
        plain = name = identifier(key)
        while name in names or name in taken or is_taken(name):
            number = endings[plain] = endings.get(plain, 1) + 1
            name = f"{plain}_" if number == 2 else f"{plain}_{number}"
        names[name] = None
    return list(names)


def identifier(key: str) -> str:
    """Return *key* as an identifier that begins with no underscore."""
    if key.isascii() and key.isidentifier() and key[0] != "_":
        return key
    name = unicodedata.normalize("NFKC", re.sub(r"\W", "_", unicodedata.normalize("NFKC", key)))
    if not f"n{name}".isidentifier():
        name = re.sub(r"\W", "_", name, flags=re.ASCII)
    if name.startswith("_"):
        return f"u{name}"
    return name if name.isidentifier() else f"n{name}"


def is_encodable(key: str) -> bool:
    """Return whether msgspec can write a field with the name *key*."""
    return is_text(key) and not _UNENCODABLE.search(key)


def is_text(value: str) -> bool:
    """Return whether *value* has no half of a character, which UTF-8 cannot write."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_taken(name: str) -> bool:
    """Return whether generated code cannot give *name* to a field or a class."""
    return name in _USED_NAMES or keyword.iskeyword(name)


def class_name(title: str) -> str:
    """Return *title* in PascalCase."""
    words = [word for word in re.split(r"[\W_]+", title) if word]
    return identifier("".join(word[0].upper() + word[1:] for word in words) or "Record")
