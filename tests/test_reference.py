"""The reference has every public name, and a docstring has every parameter.

The pages of docs/reference/ name what autodoc writes there; they are read here without Sphinx.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name, walk_packages
from textwrap import dedent
from typing import Any, Final, NamedTuple, get_origin, get_overloads

import msgspec
import pytest

import replicate_async
from replicate_async.resources import ENDPOINTS
from tests.support.sentinel import TOKEN

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = sorted((ROOT / "docs" / "reference").glob("*.md"))
TEXT: Final = "\n".join(page.read_text() for page in PAGES)

FIXED: Final = ("", ".hooks", ".local", ".resources", ".schemas", ".tracing", ".webhooks")
"""Modules to import from; those of `web` and `integrations` are found by their `__all__`."""

NOT_CALLED: Final = {
    *("Batch", "BoundModel", "DaskBatch", "Fault", "Paginator", "Problem", "RunUpdates", "Stream"),
    *("Usage", "ViewerStream"),
}
"""Classes whose objects the package makes, or another call of it."""


class Public(NamedTuple):
    path: str
    value: Any


def is_public(module: str) -> bool:
    path = ROOT / f"{module.replace('.', '/')}.py"
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    return "\n__all__ = " in path.read_text()


def public_modules() -> list[str]:
    found = [f"replicate_async{name}" for name in FIXED]
    for package in ("replicate_async.web", "replicate_async.integrations"):
        folder = str(ROOT / package.replace(".", "/"))
        names = [package, *(each.name for each in walk_packages([folder], f"{package}."))]
        found += [name for name in names if is_public(name)]
    return found


MODULES: Final = public_modules()


@cache
def public_names(module: str) -> tuple[Public, ...]:
    try:
        found = importlib.import_module(module)
    except ImportError as missing:
        pytest.skip(f"the integrations session installs what it needs: {missing}")
    return tuple(Public(f"{module}.{name}", getattr(found, name)) for name in found.__all__)


def resources() -> Iterator[Public]:
    """Return the classes of the resources of a client, by the paths of their operations."""
    client = replicate_async.Replicate(TOKEN)
    paths = {"client", *(f"client.{name}".rpartition(".")[0] for name in ENDPOINTS)}
    for path in sorted(paths - {"client"}):
        yield Public(path, type(attrgetter(path.removeprefix("client."))(client)))


CLIENT: Final = Public("client", replicate_async.Replicate)
RESOURCES: Final = tuple(resources())


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Return what a class defines itself or inherits from a class of this package."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("replicate_async"):
            found = {**vars(base), **found}
    for name, value in found.items():
        kinds = (property, staticmethod, classmethod)
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds)):
            yield name, value


@cache
def shown() -> dict[int, set[str]]:
    """Return the objects that the pages show, each with the members that they leave out."""
    found: dict[int, set[str]] = {}
    pattern = r"\.\. auto(\w+):: (\S+)((?:\n   :[^\n]+)*)"
    for _, path, options in re.findall(pattern, TEXT):
        try:
            value = named(path)
        except (ImportError, AttributeError):
            continue  # of an extra that is not installed
        left_out = re.search(r":exclude-members: ([^\n]+)", options)
        found[id(value)] = set(re.split(r",\s*", left_out[1])) if left_out else set()
    return found


def named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return resolve_name(path)  # of a class


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(module: str) -> None:
    missing = [each.path for each in public_names(module) if id(each.value) not in shown()]

    assert missing == [], "add them to a page of docs/reference/"


def test_the_reference_has_every_resource() -> None:
    assert [each.path for each in RESOURCES if id(each.value) not in shown()] == []


def test_a_member_that_a_class_leaves_out_is_elsewhere_in_the_reference() -> None:
    for cls in (value for each in MODULES[:1] for _, value in public_names(each)):
        for name in shown().get(id(cls), ()):
            assert id(getattr(cls, name)) in shown(), f"{cls.__name__}.{name}"


def test_the_contents_have_every_page() -> None:
    index = (ROOT / "docs" / "reference" / "index.md").read_text()
    listed = {
        line
        for toctree in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)
        for line in toctree.split()
    }

    assert {page.stem for page in PAGES} - {"index"} <= listed


def listed_parameters(text: str) -> list[str]:
    """Return what the section "Args" of a docstring lists, one to a line."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", f"{text}\n", re.MULTILINE)
    return re.findall(r"^    \*{0,2}(\w+): ", section[1], re.MULTILINE) if section else []


def described_fields(cls: type) -> set[str]:
    """Return the fields of a class with a string below them."""
    found: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("replicate_async"):
            continue
        (body,) = ast.parse(dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str())):
                    found.add(name)
                case _:
                    pass
    return found


def undescribed(path: str, function: Callable[..., Any], text: str, fields: set[str]) -> list[str]:
    """Return the parameters that a docstring does not list; an order that differs is an error."""
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in {"self", "cls"}:
        del parameters[0]
    if "arguments are those of" in text:
        parameters = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
    names = [each.name for each in parameters]
    listed = listed_parameters(text)
    assert listed == [name for name in names if name in listed], f"{path}: the order of Args"
    return [f"{path}({name}=)" for name in names if name not in {*listed, *fields}]


def undocumented(path: str, value: Any) -> Iterator[str]:
    """Return what a public object lacks: docstrings, and parameters in them."""
    if get_origin(value) is not None or not (isinstance(value, type) or inspect.isfunction(value)):
        return
    text = inspect.getdoc(value) or ""
    if not text or not (value.__doc__ or "").strip():
        yield path
    if not isinstance(value, type):
        yield from undescribed(path, value, text, set())
        return
    if is_called(path, value):
        yield from undescribed(path, value, text, described_fields(value))
    for name, member in members(value):
        text = inspect.getdoc(member) or ""
        if not text:
            yield f"{path}.{name}"
        function = getattr(member, "__func__", member)  # of a static or class method
        if inspect.isfunction(function):
            yield from undescribed(f"{path}.{name}", function, text, set())


def is_called(path: str, cls: type) -> bool:
    """Tell whether users make objects of the class; what the API answers with, they do not."""
    is_protocol = bool(getattr(cls, "_is_protocol", False))
    is_answer = issubclass(cls, msgspec.Struct) and "Args:" not in (cls.__doc__ or "")
    named = cls.__name__ in NOT_CALLED or issubclass(cls, BaseException)
    return not (is_answer or is_protocol or named or path.startswith("client."))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring_that_lists_its_parameters(module: str) -> None:
    lacks = [line for each in public_names(module) for line in undocumented(*each)]

    assert lacks == []


@pytest.mark.parametrize("resource", RESOURCES, ids=attrgetter("path"))
def test_every_method_of_a_resource_has_a_docstring_that_lists_its_parameters(
    resource: Public,
) -> None:
    assert list(undocumented(*resource)) == []


def test_every_alias_has_a_string_below_it() -> None:
    for path in re.findall(r"autodata:: (\S+)", TEXT):
        module, _, name = path.rpartition(".")
        source = inspect.getsource(importlib.import_module(module))
        definition = rf"^ *{name}(?:: [^\n]+)? = (?:.+\n)+? *\"\"\""
        assert re.search(definition, source, re.MULTILINE), path


MOST_USED: Final = (
    *("Replicate", "Replicate.run", "Replicate.stream", "Replicate.batch", "Replicate.use"),
    *("resources.predictions.Predictions.create", "resources.predictions.Predictions.get"),
    *("resources.predictions.Predictions.wait", "resources.predictions.Predictions.list"),
    *("resources.predictions.Predictions.cancel", "resources.predictions.Predictions.stream"),
    *("resources.models.Models.get", "resources.deployments.Deployments.run"),
    *("resources.trainings.Trainings.create", "resources.files.Files.create"),
    *("FileOutput.read", "FileOutput.save", "save_all", "Stream.final", "Batch.summary"),
    *("webhooks.verify", "webhooks.unwrap", "local.LocalReplicate", "local.LocalReplicate.model"),
)


@pytest.mark.parametrize("name", MOST_USED)
def test_the_most_used_calls_have_an_example_that_is_python(name: str) -> None:
    text = inspect.getdoc(named(f"replicate_async.{name}")) or ""
    example = re.search(r"^Example::\n\n((?:    .*\n)+)", f"{text}\n", re.MULTILINE)

    assert example
    ast.parse(f"async def main():\n{example[1]}")


@pytest.mark.parametrize("resource", [CLIENT, *RESOURCES], ids=attrgetter("path"))
def test_a_signature_for_editors_has_the_defaults_of_its_method(resource: Public) -> None:
    for name, method in members(resource.value):
        for overload in get_overloads(method) if inspect.isfunction(method) else ():
            shared = getattr(replicate_async.Replicate, name, method)  # takes its **options
            own = {**inspect.signature(shared).parameters, **inspect.signature(method).parameters}
            for each in inspect.signature(overload).parameters.values():
                if each.default not in {each.empty, None}:
                    assert each.default == own[each.name].default, f"{name}({each.name}=)"


@pytest.mark.parametrize("module", MODULES)
def test_an_example_is_a_literal_block_which_editors_show_as_code(module: str) -> None:
    for path, value in public_names(module):
        texts = {path: inspect.getdoc(value) or ""}
        if isinstance(value, type):
            texts |= {f"{path}.{name}": inspect.getdoc(each) or "" for name, each in members(value)}
        wrong = [
            name for name, text in texts.items() if re.search("^Example:$", text, re.MULTILINE)
        ]
        assert wrong == []
