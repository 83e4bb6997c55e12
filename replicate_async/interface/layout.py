"""Layout of generated code: lines break where `ruff format` breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from unicodedata import combining, east_asian_width

WIDTH: Final = 100
"""Columns of a line."""
_STEP: Final = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Items in brackets: *head* ends with the opening one, *tail* is the closing one."""

    head: str
    items: Sequence[Code]
    tail: str
    is_display: bool = False
    """Whether it is a list or a dict, of which a broken one has each item on a line."""


@dataclass(frozen=True, slots=True)
class Either:
    """Types with ``|`` between them."""

    parts: Sequence[Code]


Code: TypeAlias = str | Group | Either
"""An expression; a plain text has no place for a line break."""


def flat(code: Code) -> str:
    """Return *code* on one line."""
    if isinstance(code, str):
        return code
    if isinstance(code, Either):
        return " | ".join(map(flat, code.parts))
    return f"{code.head}{', '.join(map(flat, code.items))}{code.tail}"


def assignment(name: str, type: Code, value: Code | None = None, *, indent: int = 0) -> str:
    """Return ``name: type = value`` as one or more lines, without the last line break."""
    start = f"{' ' * indent}{name}: "
    if value is None:
        return _expression(start, type, "", indent, parenthesize=isinstance(type, Either))
    line = f"{start}{flat(type)} = "
    if _fits(line + flat(value)):
        return line + flat(value)
    is_name = isinstance(type, str)
    wraps = _fits(f"{line}(") and not flat(value).startswith("-")
    if isinstance(value, Group):
        if _fits(line + value.head) or (is_name and not wraps):
            return _broken(line, value, indent)
    elif is_name:
        return _value(line, value, indent, always=False)
    if wraps:
        return _value(line, value, indent, always=True)
    head = _broken(start, type, indent)
    return _value(f"{head} = ", value, indent, always=False)


def class_header(name: str, arguments: Sequence[str]) -> str:
    """Return the first line of a class, or its first lines."""
    return _expression("class ", Group(f"{name}(", arguments, ")"), ":", 0)


def _value(line: str, value: Code, indent: int, *, always: bool) -> str:
    last = line.rpartition("\n")[2]
    if _fits(last + flat(value)):
        return line + flat(value)
    if isinstance(value, Either) or (isinstance(value, Group) and _fits(last + value.head)):
        return _broken(line, value, indent)
    inner = " " * (indent + _STEP)
    if always or _fits(inner + flat(value)):
        return f"{line}(\n{_expression(inner, value, '', indent + _STEP)}\n{' ' * indent})"
    return line + flat(value)


def _expression(
    start: str, code: Code, end: str, indent: int, *, parenthesize: bool = False
) -> str:
    """Return *start*, *code* and *end* on one line if they fit, else *code* on several."""
    if isinstance(code, str) or _fits(f"{start}{flat(code)}{end}"):
        return f"{start}{flat(code)}{end}"
    if parenthesize or isinstance(code, Group):
        return _broken(start, code, indent) + end
    margin = "\n" + " " * indent
    first, *others = code.parts
    lines = [_expression(start, first, "", indent)]
    lines += [_expression(f"{' ' * indent}| ", part, "", indent).lstrip() for part in others]
    return margin.join(lines) + end


def _broken(start: str, code: Code, indent: int) -> str:
    """Return *start* and *code*, with a line break at its outermost brackets."""
    inner = " " * (indent + _STEP)
    if isinstance(code, str) or (isinstance(code, Group) and not code.items):
        return start + flat(code)
    if isinstance(code, Either):
        return f"{start}(\n{_expression(inner, code, '', indent + _STEP)}\n{' ' * indent})"
    body = inner + ", ".join(map(flat, code.items))
    if len(code.items) == 1:
        body = _expression(inner, code.items[0], "", indent + _STEP)
    elif code.is_display or not _fits(body):
        body = "\n".join(_expression(inner, item, ",", indent + _STEP) for item in code.items)
    return f"{start}{code.head}\n{body}\n{' ' * indent}{code.tail}"


def _fits(line: str) -> bool:
    return _columns(line) <= WIDTH


def _columns(text: str) -> int:
    """Return the columns of *text*; letters of East Asia have two."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(combining(char) > 0 for char in text)
