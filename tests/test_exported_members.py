"""What `from replicate_async import ...` offers is written down, complete and in order."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final, get_origin, get_type_hints

import msgspec
import pytest

import replicate_async
from replicate_async.resources import ENDPOINTS
from tests.support.sentinel import TOKEN

FACADES = ["replicate_async", "replicate_async.local", "replicate_async.schemas"]
"""Packages whose `__init__` exists to be imported from."""


def ruff_order(name: str) -> tuple[int, str]:
    """Constants first, then classes, then the rest, as the linter sorts them."""
    constant = re.fullmatch(r"[A-Z][A-Z0-9_]+", name) is not None
    return (0 if constant else 1 if name[0].isupper() else 2, name)


def defined_or_imported(module: ModuleType) -> set[str]:
    """Return the public names that the module's own source binds, submodules left out."""
    body = ast.parse(Path(str(module.__file__)).read_text()).body
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("replicate_async"):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {
        name
        for name in names
        if not name.startswith("_") and not isinstance(getattr(module, name), ModuleType)
    }


@pytest.mark.parametrize("name", FACADES)
def test_all_is_sorted(name: str) -> None:
    exported = list(importlib.import_module(name).__all__)

    assert exported == sorted(exported, key=ruff_order)
    assert len(exported) == len(set(exported))


@pytest.mark.parametrize("name", FACADES)
def test_all_is_complete_and_true(name: str) -> None:
    module = importlib.import_module(name)

    assert defined_or_imported(module) <= set(module.__all__)
    assert [missing for missing in module.__all__ if not hasattr(module, missing)] == []


def test_every_error_can_be_imported_from_the_top() -> None:
    errors = importlib.import_module("replicate_async.errors")
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, replicate_async.ReplicateError)
    }

    assert classes <= set(replicate_async.__all__)


def test_every_public_class_and_function_has_a_docstring() -> None:
    for name in replicate_async.__all__:
        value = getattr(replicate_async, name)
        # A type alias can be called as far as Python knows, and has no docstring of its own.
        if get_origin(value) is None and callable(value):
            assert (value.__doc__ or "").strip(), name


CLIENT: Final = {
    *("account", "collections", "deployments", "files", "hardware", "models", "predictions"),
    *("trainings", "webhooks"),
    *(
        "use",
        "run",
        "stream",
        "batch",
        "resolve_batch_item",
        "parse_output",
        "search",
        "with_options",
        "capture",
        "usage",
        "aclose",
    ),
}
RUNS: Final = {"wait", "watch", "handle_webhook"}
BESIDES_OPERATIONS: Final = {
    "deployments": {"run", "stream", "batch"},
    "predictions": {*RUNS, "stream"},
    "trainings": RUNS,
}


def shown(value: object) -> set[str]:
    """Return the public members that an editor completes after ``value.``."""
    return {name for name in dir(value) if not name.startswith("_")}


def test_a_client_completes_to_its_public_methods_only() -> None:
    assert shown(replicate_async.Replicate(TOKEN)) == CLIENT


@pytest.mark.parametrize("resource", sorted({name.rpartition(".")[0] for name in ENDPOINTS} - {""}))
def test_a_resource_completes_to_its_operations_only(resource: str) -> None:
    steps = resource.split(".")
    value: object = replicate_async.Replicate(TOKEN)
    for step in steps:
        value = getattr(value, step)
    operations = {
        name.split(".")[len(steps)] for name in ENDPOINTS if name.startswith(f"{resource}.")
    }

    assert shown(value) == operations | BESIDES_OPERATIONS.get(resource, set())


MADE: Final[dict[str, tuple[Callable[[replicate_async.Replicate], object], set[str]]]] = {
    "Stream": (
        lambda client: client.stream("owner/name", {}),
        {"aclose", "final", "last_event_id", "prediction", "raw", "text"},
    ),
    "RunUpdates": (lambda client: client.predictions.watch("abc"), {"close"}),
    "Paginator": (lambda client: client.predictions.list(), {"pages"}),
    "Batch": (
        lambda client: client.batch("owner/name", []),
        {"aclose", "how_to_resume", "progress", "stop", "summary"},
    ),
    "FileOutput": (
        lambda client: client.parse_output(
            replicate_async.Prediction(
                id="abc", status="succeeded", output="https://replicate.delivery/a.png"
            )
        ),
        {"content_type", "data", "name", "read", "save", "size", "url", "with_client"},
    ),
    "WaitTimeout": (
        lambda _: replicate_async.WaitTimeout("It is late.", last=None),
        {"bound", "last", "poll_error", "prediction", "seconds", *dir(Exception)},
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", MADE)
async def test_what_a_client_makes_completes_to_public_names_only(name: str) -> None:
    make, names = MADE[name]
    async with replicate_async.Replicate(TOKEN) as client:
        made = make(client)

    assert type(made).__name__ == name
    assert shown(made) == {each for each in names if not each.startswith("_")}


def test_the_types_of_the_fields_of_public_structs_can_be_read() -> None:
    found = [getattr(replicate_async, name) for name in replicate_async.__all__]
    structs = [one for one in found if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    assert replicate_async.OutputEvent in structs
    for struct in structs:
        assert get_type_hints(struct), struct
