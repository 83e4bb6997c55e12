"""The allowed imports, read from the source, so that an import inside a function counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import replicate_async

PACKAGE = Path(__file__).parent.parent / "replicate_async"

CLIENT_SIDE = {
    "arguments",
    "core",
    "errors",
    "refs",
    "schemas",
    "files",
    "runs",
    "resources",
    "typed",
}
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "errors": {"core"},
    "arguments": {"core", "errors"},
    "refs": {"core", "errors"},
    "schemas": {"core"},
    "webhooks": {"arguments", "core", "errors", "schemas"},
    "files": {"arguments", "core", "errors", "refs", "schemas"},
    "interface": {"core", "errors", "files", "schemas"},
    "runs": {"core", "errors", "refs", "schemas", "files", "interface", "tracing"},
    "context": {"core", "errors", "files", "refs", "runs", "schemas", "tracing", "transport"},
    "typed": {"core", "errors", "refs", "files", "interface"},
    "resources": CLIENT_SIDE | {"context", "tracing", "webhooks"},
    "tracing": {"schemas"},
    "hooks": {"errors", "tracing"},
    "transport": {"core", "errors", "hooks", "schemas", "tracing"},
    "config": {"arguments", "core", "errors", "hooks", "tracing"},
    "bound": CLIENT_SIDE | {"interface"},
    "client": CLIENT_SIDE | {"bound", "config", "context", "hooks", "transport"},
    "__init__": CLIENT_SIDE | {"bound", "client", "webhooks"},
    "local": CLIENT_SIDE | {"interface", "webhooks"},
    "web": CLIENT_SIDE | {"client", "webhooks"},
    "integrations": CLIENT_SIDE | {"client", "context", "tracing", "web"},
    "cli": CLIENT_SIDE | {"__init__", "client", "context", "interface", "local", "webhooks"},
    "__main__": {"__init__", "cli"},
}
"""For each part, the other parts that it may import when it runs."""

MAY_IMPORT_AIOHTTP = (
    "transport/",
    "web/aiohttp.py",
    "local/http/",
    "local/runtime/fetcher.py",
    "local/runtime/outbound_hosts.py",
    "local/runtime/webhook_sender.py",
)
"""Folders and files; the rest of `local` neither serves HTTP nor asks other servers."""
DOES_IO = ("aiohttp", "anyio", "asyncio", "httpx", "httpx_sse", "socket", "ssl", "urllib.request")
MAY_WAIT = {"core/tasks.py": {"anyio", "asyncio"}}
"""Waiting for a future is no I/O; all parts share this one wait without being cancelled."""


class Import(NamedTuple):
    module: str
    line: int
    for_types_only: bool


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """Return the layer of a source file: the package below ours, or the module's own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text(), str(path))
    return list(_imports(tree, path, for_types_only=False))


def _imports(node: ast.AST, path: Path, *, for_types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, for_types_only)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, path)
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, for_types_only)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(child, path, for_types_only=True)
        else:
            yield from _imports(child, path, for_types_only=for_types_only)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = ("replicate_async", *path.relative_to(PACKAGE).parent.parts)
    base = package[: len(package) - node.level + 1]
    return ".".join((*base, node.module) if node.module else base)


def imported_part(module: str) -> str | None:
    """Return the layer that *module* names, or None when it is not ours."""
    root, *rest = module.split(".")
    if root != "replicate_async":
        return None
    if not rest or (len(rest) == 1 and not _is_part(rest[0])):
        return "__init__"
    return rest[0]


def _is_part(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_a_part_imports_only_the_parts_below_it() -> None:
    wrong = [
        f"{path}:{found.line} imports {found.module}"
        for path in sources()
        for found in imports(path)
        if not found.for_types_only
        and (target := imported_part(found.module)) not in {None, part(path)}
        and target not in MAY_IMPORT[part(path)]
    ]

    assert wrong == []


def test_aiohttp_is_imported_only_where_the_network_is() -> None:
    wrong = [
        f"{path}:{found.line} imports {found.module}"
        for path in sources()
        for found in imports(path)
        if not found.for_types_only
        and found.module.split(".")[0] == "aiohttp"
        and not named(path).startswith(MAY_IMPORT_AIOHTTP)
    ]

    assert wrong == []


def test_the_core_does_no_io_and_knows_nothing_above_it() -> None:
    for path in sorted((PACKAGE / "core").rglob("*.py")):
        for found in imports(path):
            assert imported_part(found.module) in {None, "core"}, (path, found)
            allowed = MAY_WAIT.get(named(path), set())
            does_io = [name for name in DOES_IO if f"{found.module}.".startswith(f"{name}.")]
            assert set(does_io) <= allowed, (path, found)


def test_the_parts_form_no_circle() -> None:
    graph: dict[str, set[str]] = {part(path): set() for path in sources()}
    for path in sources():
        targets = (imported_part(f.module) for f in imports(path) if not f.for_types_only)
        graph[part(path)] |= {target for target in targets if target} - {part(path)}

    while leaves := {layer for layer, below in graph.items() if not below & graph.keys()}:
        graph = {layer: below for layer, below in graph.items() if layer not in leaves}

    assert graph == {}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def import_graph() -> dict[str, set[str]]:
    """Return, for each module, the modules of the package that it names in imports of any kind."""
    paths = {module_of(path): path for path in sources()}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        ours = (each.module.partition("replicate_async.") for each in imports(path))
        names = {name for before, found, name in ours if found and not before}
        named = {name if name in paths else name.rpartition(".")[0] or "__init__" for name in names}
        graph[module] = named & paths.keys() - {module}
    return graph


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that *start* imports, directly or through others."""
    found: set[str] = set()
    left = [start]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


def test_the_modules_form_no_circle() -> None:
    graph = import_graph()

    assert {module for module in graph if module in reachable(graph, module)} == set()


def test_the_rooms_of_the_embedded_server_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, named in import_graph().items():
        room, *_ = module.removeprefix("local.").split(".")
        if module.startswith("local."):
            rooms = {each.split(".")[1] for each in named if each.startswith("local.")}
            graph.setdefault(room, set()).update(rooms - {room})

    assert {room for room in graph if room in reachable(graph, room)} == set()


def loaded_by(statement: str) -> set[str]:
    """Return the modules that *statement* loads, but for those that coverage has loaded before."""
    program = (
        f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(done.stdout.decode().split())


def test_importing_the_package_loads_nothing_before_it_is_asked_for() -> None:
    loaded = loaded_by("import replicate_async")

    assert {name for name in loaded if name.startswith("replicate_async")} == {
        "replicate_async",
        "replicate_async.core",
        "replicate_async.core.version",
    }
    assert {"asyncio", "msgspec", "anyio"}.isdisjoint(loaded)


def test_the_client_class_loads_neither_http_libraries_nor_what_batches_need() -> None:
    loaded = loaded_by("from replicate_async import Replicate")

    unneeded = {"aiohttp", "anyio", "httpx", "httpx_sse", "sqlite3", "csv", "email", "html"}
    assert {*unneeded, "importlib.metadata"}.isdisjoint(loaded)
    assert not any(name.startswith("replicate_async.runs.batch") for name in loaded)


def test_a_client_does_not_load_what_only_files_streams_and_webhooks_need() -> None:
    loaded = loaded_by("from replicate_async import Replicate; Replicate('r8_0123456789')")

    assert {"anyio", "fractions", "hmac", "html", "sqlite3"}.isdisjoint(loaded)
    ours = {name.removeprefix("replicate_async.") for name in loaded}
    assert {each for each in ours if each.startswith(("files.", "runs.streaming", "webhooks"))} == {
        "files.contents",
        "files.data_url",
        "files.file_source",
        "files.find",
        "files.inputs",
        "files.opener",
        "files.values",
    }


def test_the_client_class_does_not_load_what_reads_schemas() -> None:
    loaded = loaded_by("from replicate_async import Replicate")

    assert "difflib" not in loaded
    assert not any(name.startswith("replicate_async.interface") for name in loaded)


def test_reading_a_schema_needs_neither_http_nor_an_event_loop() -> None:
    loaded = loaded_by(
        "import replicate_async.interface.read, replicate_async.interface.validation"
    )

    assert {"aiohttp", "anyio", "asyncio"}.isdisjoint(loaded)


@pytest.mark.parametrize("name", ["RateLimitError", "Prediction", "FileOutput", "OutputEvent"])
def test_a_name_can_be_imported_without_the_client_and_batches(name: str) -> None:
    loaded = loaded_by(f"from replicate_async import {name}")

    assert {"anyio", "aiohttp", "replicate_async.client"}.isdisjoint(loaded)
    assert not any(each.startswith("replicate_async.runs.batch") for each in loaded)


def test_names_are_what_their_modules_say_and_others_are_none() -> None:
    for found in imports(PACKAGE / "__init__.py"):
        if found.for_types_only:
            module, _, name = found.module.rpartition(".")
            assert getattr(replicate_async, name) is getattr(import_module(module), name)

    assert set(replicate_async.__all__) <= set(dir(replicate_async))
    with pytest.raises(AttributeError, match="has no attribute 'Replicat'"):
        getattr(replicate_async, "Replicat")  # noqa: B009 - a checker knows that there is none
