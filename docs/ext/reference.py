"""What autodoc cannot know: the HTTP operation of a method, and where an object is not made."""

from __future__ import annotations

import re
import sys
from collections import ChainMap
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec
from docutils import nodes
from sphinx.addnodes import pending_xref

import replicate_async
from replicate_async.cli.app import build
from replicate_async.resources import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config

    from replicate_async.core.endpoint import Endpoint

COMMANDS = "<!-- commands -->"


def _operations() -> dict[str, list[str]]:
    """Return the operations of each method, such as ``Predictions.get``."""
    client = replicate_async.Replicate("r8_reference", base_url="http://127.0.0.1:1")
    found: dict[str, list[str]] = {}
    for operation in ENDPOINTS:
        method: Any = client
        for name in operation.split("."):
            method = getattr(method, name)
        found.setdefault(method.__qualname__, []).append(operation)
    return found


OPERATIONS = _operations()


def _process_docstring(
    _app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    text = "\n".join(lines)
    if what in {"attribute", "data", "property"}:
        # Napoleon takes what precedes a colon in the first line for a type; this is a comment.
        text = f"..\n\n{text}"
    for operation in OPERATIONS.get(".".join(name.split(".")[-2:]), ()):
        text = "\n".join([text.rstrip(), "", *_facts(operation, ENDPOINTS[operation]), ""])
    lines[:] = text.split("\n")


def _facts(operation: str, endpoint: Endpoint[Any]) -> Iterator[str]:
    yield f":Operation: ``{operation}``: ``{endpoint.method} /v1{endpoint.path}``"
    for label, type_ in (("Query", endpoint.query), ("Headers", endpoint.headers)):
        if type_ is not None:
            yield f":{label}: {_link(type_)}"
    if endpoint.takes is not None:
        yield f":Body: {_link(endpoint.takes)} as ``{endpoint.media}``"
    what = "nothing" if endpoint.returns is NoneType else _link(endpoint.returns)
    yield f":Answer: {what}, with status {' or '.join(map(str, endpoint.status))}"
    again = "it is repeated" if endpoint.repeatable else "it is **never repeated**"
    yield f":After an ambiguous failure: {again}"


def _link(type_: Any) -> str:
    origin, arguments = get_origin(type_), get_args(type_)
    cls = origin or type_
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
        top = cls.__name__ in replicate_async.__all__
        home = "replicate_async" if top else "replicate_async.schemas"
        shown = f":py:class:`~{home}.{cls.__name__}`"
    else:
        shown = f"``{getattr(cls, '__name__', cls)}``"
    return " of ".join([shown, *map(_link, arguments)])


def _process_signature(
    _app: Sphinx,
    what: str,
    _name: str,
    obj: Any,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """Hide how an object is made that only the package makes; write out nested aliases."""
    if signature is None:
        return None
    if what == "exception" or (what == "class" and "Args:" not in (obj.__doc__ or "")):
        return "", None
    # Sphinx does this for an alias that is not inside of another type.
    signature = re.sub(r"TypeAliasForwardRef\('([\w.]+)'\)", r"\1", signature)
    # It cannot read the repr of an object, such as the default of a dataclass's field.
    return re.sub(r"<([\w.]+) object[^>]*>", r"\1()", signature), returned


def _keep_aliases(_app: Sphinx, config: Config) -> None:
    """Have signatures name the aliases that the pages explain, and not what stands for them."""
    pages = Path(__file__).parent.parent.joinpath("reference").glob("*.md")
    paths = re.findall(r"autodata:: (\S+)", "".join(page.read_text() for page in pages))
    config.autodoc_type_aliases = {
        name: path
        for path in paths
        if not isinstance(getattr(replicate_async, name := path.rpartition(".")[2], None), type)
    }
    for cls in _subclasses(msgspec.Struct):
        _inherit_annotations(cls)


def _subclasses(cls: type) -> Iterator[type]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


def _inherit_annotations(cls: type) -> None:
    """Give a struct the annotations of its bases: with aliases, Sphinx shows a class's own only."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("replicate_async")]
    cls.__annotations__ = dict(ChainMap(*(vars(base).get("__annotations__", {}) for base in bases)))
    names = vars(sys.modules[cls.__module__])
    for base in bases:  # the names in these annotations
        names.update(vars(sys.modules[base.__module__]) | names)


def _unlink_builtins(_app: Sphinx, doctree: nodes.document) -> None:
    """Unlink ``type``, which Sphinx would take for a field of that name."""
    for reference in list(doctree.findall(pending_xref)):
        if reference.get("reftarget") == "type":
            reference.replace_self(nodes.Text("type"))


def _commands(_app: Sphinx, _docname: str, source: list[str]) -> None:
    if COMMANDS in source[0]:
        source[0] = source[0].replace(COMMANDS, commands())


def commands() -> str:
    """Return the help of the program, all commands, as Markdown."""
    text = build().generate_docs()
    text = text.replace(" -m sphinx ", " ")  # cyclopts takes a part of the running program's name
    _, first, others = text.partition("\n## replicate-async run\n")  # without the list of commands
    return re.sub(r"(?:^\$ .+\n)+", r"```console\n\g<0>```\n", first + others, flags=re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _process_docstring, priority=400)  # before Napoleon
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("config-inited", _keep_aliases)
    app.connect("doctree-read", _unlink_builtins)
    app.connect("source-read", _commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
