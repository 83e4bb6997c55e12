"""Writes the reference page: operations from their endpoints, names from `__all__`.

The page holds comments, such as `<!-- operations -->` and `<!-- names -->`, each replaced here.
Nothing on it is kept by hand, so it cannot fall behind.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

import replicate_async
from replicate_async.resources import ENDPOINTS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from replicate_async.core.endpoint import Endpoint

ALIASES = (
    "resources._prepared_input.Input",
    "files.values.Record",
    "files.file_input.FileInput",
    "files.inputs.FileEncoding",
    "resources._options.Wait",
    "resources._options.Deadline",
    "runs.waiting.wait_options.OnUpdate",
    "runs.streaming.stream.OnExit",
    "runs.batch.results.ItemInput",
    "runs.batch.keys.Key",
    "runs.batch.keys.Match",
    "runs.batch.options.OnError",
    "schemas.values.WebhookEvent",
    "webhooks.Headers",
)
"""Aliases that signatures name, each with the module that explains it."""

Structs = dict[str, type[msgspec.Struct]]


def render(text: str) -> str:
    """Return the page with the generated parts in place of their comments."""
    client = replicate_async.Replicate("r8_reference", base_url="http://127.0.0.1:1")
    structs = _structs()
    names = sorted(set(replicate_async.__all__) - {*structs})
    generated = {
        "operations": "\n".join(_operation(client, *item) for item in sorted(ENDPOINTS.items())),
        "schemas": "\n".join(_schema(name, cls, structs) for name, cls in sorted(structs.items())),
        "names": "\n".join(filter(None, map(_name, names))),
        "aliases": "\n".join(map(_alias, ALIASES)),
    }
    return re.sub(rf"<!-- ({'|'.join(generated)}) -->", lambda found: generated[found[1]], text)


def _structs() -> Structs:
    """Return every struct that an operation takes or returns, and those within them, by name."""
    found: Structs = {}
    for endpoint in ENDPOINTS.values():
        for type_ in (endpoint.takes, endpoint.query, endpoint.headers, endpoint.returns):
            _collect(type_, found)
    return found


def _collect(type_: object, found: Structs) -> None:
    cls = get_origin(type_) or type_
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct) and cls.__name__ not in found:
        found[cls.__name__] = cls
        for field in msgspec.structs.fields(cls):
            _collect(field.type, found)
    for argument in get_args(type_):
        _collect(argument, found)


def _operation(client: object, operation: str, endpoint: Endpoint[Any]) -> str:
    method = client
    for name in operation.split("."):
        method = getattr(method, name)
    lines = [
        f"### {operation}",
        "",
        f"`{endpoint.method} /v1{endpoint.path}`",
        "",
        "```text",
        _signature(f"client.{operation}", method),
        "```",
        "",
        _docstring(method),
        "",
        "Operation:",
        "",
        *_facts(endpoint),
        "",
    ]
    return "\n".join(lines)


def _facts(endpoint: Endpoint[Any]) -> Iterator[str]:
    for label, type_ in (("Query", endpoint.query), ("Headers", endpoint.headers)):
        if type_ is not None:
            yield f"- {label}: {_link(type_)}"
    if endpoint.takes is not None:
        yield f"- Body: {_link(endpoint.takes)} as `{endpoint.media}`"
    statuses = " or ".join(map(str, endpoint.status))
    what = "nothing" if endpoint.returns is type(None) else _link(endpoint.returns)
    yield f"- Returns: {what}, with status {statuses}"
    again = "repeated" if endpoint.repeatable else "**never repeated**"
    yield f"- After an ambiguous failure: {again}"
    yield f"- Errors of its own: {', '.join(_errors(endpoint))}"


def _errors(endpoint: Endpoint[Any]) -> list[str]:
    """Name the errors that depend on the operation; any call may raise the others."""
    conditions = {
        "NotFoundError": endpoint.parameters,
        "UnprocessableEntityError": endpoint.takes or endpoint.query,
        "AmbiguousCreateError": not endpoint.repeatable,
        "UntrustedURLError": get_origin(endpoint.returns) is replicate_async.Page,
        "PaginationLoopError": get_origin(endpoint.returns) is replicate_async.Page,
    }
    return [f"`{name}`" for name, holds in conditions.items() if holds] or ["none"]


def _schema(name: str, cls: type[msgspec.Struct], structs: Structs) -> str:
    notes = _attribute_docs(cls)
    rows = [
        f"| `{field.encode_name}` | {_type(field.type, structs)} "
        f"| {'yes' if field.required else ''} | {notes.get(field.name, '')} |"
        for field in msgspec.structs.fields(cls)
    ]
    table = ["| field | type | always there | |", "|---|---|---|---|", *rows] if rows else []
    return "\n".join([f"### {name}", "", _docstring(cls), "", *table, ""])


def _attribute_docs(cls: type[msgspec.Struct]) -> dict[str, str]:
    """Return the first sentence of the string below each field in the source."""
    module = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = next(node for node in module.body if isinstance(node, ast.ClassDef))
    notes: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                notes[name] = _markdown(" ".join(text.split())).replace("|", "\\|")
    return notes


def _name(name: str) -> str:
    value = getattr(replicate_async, name)
    if isinstance(value, type) and issubclass(value, replicate_async.ReplicateError):
        return ""  # the errors have a page of their own
    if not callable(value) or get_origin(value) is not None:
        return ""
    lines = [f"### {name}", "", _docstring(value)]
    if not inspect.isclass(value) or "client" not in inspect.signature(value).parameters:
        lines[1:1] = ["", "```text", _signature(name, value), "```"]
    if isinstance(value, type):
        for attribute, method in _methods(value):
            if not attribute.startswith("_") and inspect.isfunction(method):
                bound = _signature(f"{name}.{attribute}", method, bound=True)
                lines += ["", "```text", bound, "```", "", _docstring(method)]
    return "\n".join([*lines, ""])


def _alias(path: str) -> str:
    """Return the definition of an alias, and the string below it in the source."""
    module, _, name = path.rpartition(".")
    source = inspect.getsource(import_module(f"replicate_async.{module}"))
    for node in ast.walk(ast.parse(source)):
        for first, below in pairwise(getattr(node, "body", None) or ()):
            match first, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value),
                    ast.Expr(ast.Constant(str(text))),
                ) if found == name:
                    shown = f"{name} = {ast.unparse(value)}"
                    lines = ["```python", shown, "```", "", _markdown(inspect.cleandoc(text))]
                    return "\n".join([f"### {name}", "", *lines, ""])
    raise LookupError(f"{path} is no alias with a docstring")


def _methods(cls: type) -> Iterator[tuple[str, object]]:
    """Return what a class defines itself or inherits from a class of this package."""
    for base in cls.__mro__:
        if base.__module__.startswith("replicate_async"):
            yield from vars(base).items()


def _signature(name: str, callable_: Any, *, bound: bool = False) -> str:
    try:
        signature = inspect.signature(callable_)
    except ValueError:
        return name
    parameters = list(signature.parameters.values())[1 if bound else 0 :]
    signature = signature.replace(parameters=parameters)
    # Annotations are strings here, and shown as such.
    text = re.sub(r"""(: |-> )(["'])(.*?)\2""", r"\1\3", str(signature))
    text = text.replace("-> None", "") if isinstance(callable_, type) else text
    kind = "await " if inspect.iscoroutinefunction(callable_) else ""
    whole = f"{kind}{name}{text}".rstrip()
    if len(whole) <= 96:
        return whole
    arguments, end, returned = text[1:].rpartition(")")
    lines = [f"    {argument},\n" for argument in re.split(r", (?=\*|\w+:)", arguments)]
    return f"{kind}{name}(\n{''.join(lines)}{end}{returned}".rstrip()


def _docstring(value: object) -> str:
    return _markdown(inspect.getdoc(value) or "")


def _markdown(text: str) -> str:
    """Turn the docstrings' double backticks into single ones, and their sections into lists."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"^(Args|Example|Raises):\n((?:    .*\n?)+)", _section, text, flags=re.MULTILINE)


def _section(found: re.Match[str]) -> str:
    """Return a section of "name: text" entries as a Markdown list, and an example as code."""
    lines = textwrap.dedent(found[2]).splitlines()
    if found[1] == "Example":
        return "\n".join(["```python", *lines, "```", ""])
    entries = [
        line if line.startswith(" ") else re.sub(r"^(\S+): ", r"- `\1`: ", line) for line in lines
    ]
    return "\n".join([f"{found[1]}:", "", *entries, ""])


def _link(type_: object) -> str:
    return _type(type_, _structs())


def _type(type_: object, structs: Structs) -> str:
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return _type(arguments[0], structs) + "".join(map(_bounds, arguments[1:]))
    if origin in {Union, UnionType}:
        return " or ".join(_type(argument, structs) for argument in arguments)
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if type_ is type(None):
        return "null"
    name = getattr(origin or type_, "__name__", str(type_))
    label = f"[{name}](#{name.lower()})" if name in structs else f"`{name}`"
    if arguments and origin is not None:
        return f"{label} of {', '.join(_type(argument, structs) for argument in arguments)}"
    return label


def _bounds(meta: object) -> str:
    if not isinstance(meta, msgspec.Meta):
        return ""
    bounds = {"from": meta.ge, "above": meta.gt, "to": meta.le, "below": meta.lt}
    return "".join(f" {word} {value}" for word, value in bounds.items() if value is not None)


def _replace(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == "reference":
        source[0] = render(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _replace)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
