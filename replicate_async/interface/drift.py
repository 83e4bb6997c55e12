"""What has changed between two generated modules, in words.

Modules are parsed, never imported: a checked-in module may have been edited.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from replicate_async.interface.names import literal

_KINDS: Final = {"Input": "input", "TrainingInput": "training input"}
_BOUNDS: Final = {"ge": ">= {}", "gt": "> {}", "le": "<= {}", "lt": "< {}"}
_LENGTHS: Final = {
    "min_length": "at least {} characters",
    "max_length": "at most {} characters",
    "pattern": "matching {}",
}


class Member(NamedTuple):
    """A field of a class, by its name in JSON."""

    type: ast.expr
    default: str | None
    """The expression of the default; None for a required field."""


def same(old: ast.Module, new: ast.Module) -> bool:
    """Return whether two modules differ in layout and comments only."""
    return _canonical(old) == _canonical(new)


def changes(old: ast.Module, new: ast.Module) -> list[str]:
    """Return what *new* says otherwise than *old*, a phrase for each."""
    before, after = _classes(old), _classes(new)
    found: list[str] = []
    for name in dict.fromkeys((*before, *after)):
        kind = _KINDS.get(name, "output field")
        found += _differences(before.get(name, {}), after.get(name, {}), kind)
    output = [_alias(module) for module in (old, new)]
    if output[0] != output[1]:
        found.append(f"output {output[0]} is now {output[1]}")
    return found or ["descriptions have changed"]


def _canonical(module: ast.Module) -> str:
    copy = ast.parse(ast.unparse(module))
    for node in ast.walk(copy):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            node.value = inspect.cleandoc(node.value)
    return ast.dump(copy)


def _classes(module: ast.Module) -> dict[str, dict[str, Member]]:
    return {
        node.name: dict(_members(node)) for node in module.body if isinstance(node, ast.ClassDef)
    }


def _members(node: ast.ClassDef) -> Iterator[tuple[str, Member]]:
    for part in node.body:
        if not (isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)):
            continue
        name, default = part.target.id, part.value
        if isinstance(default, ast.Call):
            given = {word.arg: word.value for word in default.keywords}
            if isinstance(key := given.get("name"), ast.Constant):
                name = str(key.value)
            default = given.get("default", given.get("default_factory"))
        yield name, Member(part.annotation, None if default is None else _text(default))


def _alias(module: ast.Module) -> str:
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "Output":
            return "a struct"
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "Output" and node.value:
            return _text(node.value)
    return "nothing"


def _differences(old: Mapping[str, Member], new: Mapping[str, Member], kind: str) -> Iterator[str]:
    for name, before in old.items():
        if name in new:
            yield from _difference(name, before, new[name])
    for name, after in new.items():
        if name not in old:
            yield f"new {kind} {name} ({'required' if after.default is None else 'optional'})"
    yield from (f"{kind} {name} is gone" for name in old if name not in new)


def _difference(name: str, old: Member, new: Member) -> Iterator[str]:
    before, after = _Words.of(old.type), _Words.of(new.type)
    if before.choices and after.choices:
        added = [literal(choice) for choice in after.choices if choice not in before.choices]
        gone = [literal(choice) for choice in before.choices if choice not in after.choices]
        if added:
            yield f"{name} also takes {', '.join(added)}"
        if gone:
            yield f"{name} no longer takes {', '.join(gone)}"
    elif before.type == after.type and before.limits and after.limits:
        if before.limits != after.limits:
            yield f"{name} {before.limits} is now {after.limits}"
    elif before != after:
        yield f"{name} {before} is now {after}"
    if (old.default is None) != (new.default is None):
        yield f"{name} is now {'required' if new.default is None else 'optional'}"
    elif old.default != new.default:
        yield f"{name} default {old.default} is now {new.default}"


class _Words(NamedTuple):
    """A type without None: its name, its limits, its choices."""

    type: str
    limits: str
    choices: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.type} {self.limits}".rstrip()

    @classmethod
    def of(cls, node: ast.expr) -> _Words:
        match node:
            case ast.BinOp(left=left, right=ast.Constant(value=None)):
                return cls.of(left)
            case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
                parts = choices.elts if isinstance(choices, ast.Tuple) else [choices]
                values = tuple(part.value for part in parts if isinstance(part, ast.Constant))
                return cls(_text(node), "", values)
            case ast.Subscript(
                value=ast.Name(id="Annotated"),
                slice=ast.Tuple(elts=[inner, ast.Call(keywords=words)]),
            ):
                return cls(_text(inner), _limits({str(w.arg): _text(w.value) for w in words}), ())
            case _:
                return cls(_text(node), "", ())


def _limits(given: Mapping[str, str]) -> str:
    if {"ge", "le"} <= given.keys():
        return f"{given['ge']}..{given['le']}"
    phrases = {**_BOUNDS, **_LENGTHS}
    return ", ".join(
        phrases[word].format(limit) for word, limit in given.items() if word in phrases
    )


def _text(node: ast.expr) -> str:
    """Return an expression with its texts in double quotes."""
    if isinstance(node, ast.Constant):
        return literal(node.value)
    return ast.unparse(node)
