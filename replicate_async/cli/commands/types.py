"""``types``: modules with the types of models, and whether they still fit."""

from __future__ import annotations

import ast
import difflib
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from cyclopts import Parameter

from replicate_async import NotFoundError, Replicate
from replicate_async.cli.console import note, write
from replicate_async.cli.errors import FAILED, USAGE, CommandError, UsageError, one_line
from replicate_async.cli.options import DEFAULTS, AnyPath, Options, OutputPath, connect
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.interface import drift
from replicate_async.interface.names import python_names
from replicate_async.interface.read import mapping
from replicate_async.interface.source import Header, module_source
from replicate_async.refs import VersionRef, parse_version

_SHOWN_ID: Final = 12


class Source(NamedTuple):
    """Where the types of a model come from."""

    ref: str
    document: dict[str, Any] | None
    description: str | None = None
    latest: str | None = None
    """The id of the model's latest version, if that is known."""


async def types(
    *models: Annotated[str, Parameter(name="model")],
    output: OutputPath | None = None,
    no_pin: bool = False,
    schema: AnyPath | None = None,
    check: bool = False,
    diff: bool = False,
    options: Options = DEFAULTS,
) -> int:
    """Write a Python module with the types of a model's input and output.

    A module is pinned to the latest version, unless the model is an official one.

    $ replicate-async types local/storyteller --local --output models/

    $ replicate-async types --check models/*.py

    Args:
        models: "owner/name" or "owner/name:version"; with --check, modules.
        output: A file, or a folder that gets name.py for each model; by default stdout.
        no_pin: Name the model without a version; its schema may change.
        schema: Read the schema from this JSON file, without the API.
        check: Compare modules with the schemas of their models; exit code 1 if one differs.
        diff: Check, and print the differences.
    """
    check = check or diff
    if not models:
        raise UsageError("Give a module to check." if check else 'Give a model, "owner/name".')
    if options.json:
        raise UsageError("--json is not taken: a module is Python.")
    if check and (output is not None or no_pin):
        raise UsageError("--check writes nothing: leave out --output and --no-pin.")
    if schema is not None and len(models) > 1:
        raise UsageError("--schema has the schema of one model; name one.")
    document = None if schema is None else _read_schema(schema)
    async with connect(options) if document is None else nullcontext() as client:
        sources = _Sources(client, document)
        if check:
            return await _check_all([Path(name) for name in models], sources, diff=diff)
        await _write_all([_parsed(ref) for ref in models], sources, output, pinned=not no_pin)
        return 0


class _Sources(NamedTuple):
    """Reads schemas from the API, or from one file."""

    client: Replicate | None
    document: dict[str, Any] | None

    async def find(self, ref: VersionRef, *, pinned: bool) -> Source:
        """Return where the types of *ref* come from; *pinned* adds the latest version to a name."""
        if self.client is None:
            return Source(str(ref), self.document)
        try:
            model = await self.client.models.get(str(ref.model))
            version = model.latest_version
            latest = None if version is None else version.id
            if ref.version is not None and ref.version != latest:
                version = await self.client.models.versions.get(str(ref.model), ref.version)
        except NotFoundError:
            raise CommandError(f"There is no model {ref}, or the token may not see it.") from None
        if pinned and ref.version is None and version is not None and not model.is_official:
            ref = ref._replace(version=version.id)
        document = version.openapi_schema if version is not None else None
        return Source(str(ref), document, model.description, latest)


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, RecursionError):
        raise UsageError(f"{path} has no JSON object.") from None
    return dict(mapping(found.get("openapi_schema")) or found)  # of a version, or by itself


def _parsed(ref: str) -> VersionRef:
    parsed = parse_version(ref, "model")
    if parsed.model is None:
        raise UsageError(
            f"{ref} is a version without its model, which the API cannot look up: "
            "give owner/name:version."
        )
    return parsed


async def _write_all(
    refs: list[VersionRef], sources: _Sources, output: Path | None, *, pinned: bool
) -> None:
    targets = _targets(refs, output)
    for ref, target in zip(refs, targets, strict=True):
        found = await sources.find(ref, pinned=pinned)
        try:
            source = module_source(found.ref, found.document, description=found.description)
        except InvalidArgumentError as error:  # of the model, not of the command
            raise CommandError(str(error)) from None
        if target is None:
            write(source)
        else:
            _write(target, source)


def _targets(refs: list[VersionRef], output: Path | None) -> list[Path | None]:
    """Return the file of each module; None for stdout."""
    if output is None:
        if len(refs) > 1:
            raise UsageError("Several modules need a folder: give --output.")
        return [None]
    if len(refs) == 1 and output.suffix == ".py" and not output.is_dir():
        return [output]
    names = [python_names([ref.model.name])[0] for ref in refs if ref.model is not None]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"Two of the models would be {twice[0]}.py; write one elsewhere.")
    return [output / f"{name}.py" for name in names]


def _write(path: Path, source: str) -> None:
    """Write a module unless it is there already; a file that is no generated module stays."""
    if path.exists():
        there = path.read_text(encoding="utf-8", errors="replace")
        if there == source:
            note(f"{path} is unchanged")
            return
        if there.strip() and _header(there) is None:
            raise UsageError(f"{path} is no generated module; give another --output.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.part")  # no longer than the name
    try:
        part.write_text(source, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    note(f"wrote {path}")


def _header(source: str) -> Header | None:
    try:
        return Header.read(ast.get_docstring(ast.parse(source)) or "")
    except (SyntaxError, ValueError):
        return None


async def _check_all(paths: list[Path], sources: _Sources, *, diff: bool) -> int:
    """Check modules and return the exit code."""
    code = 0
    for path in paths:
        try:
            if not await _is_current(path, sources, diff=diff):
                code = max(code, FAILED)
        except (CommandError, ReplicateError) as error:
            note(f"error: {path}: {error}")
            code = USAGE
    return code


def _read_module(path: Path) -> tuple[str, ast.Module]:
    try:
        source = path.read_text(encoding="utf-8")
        return source, ast.parse(source)
    except OSError as error:
        raise CommandError(f"cannot be read: {error.strerror}.") from None
    except (SyntaxError, ValueError, RecursionError):
        raise CommandError("not Python.") from None


async def _is_current(path: Path, sources: _Sources, *, diff: bool) -> bool:
    there, old = _read_module(path)
    said = ast.get_docstring(old) or ""
    header = Header.read(said)
    if header is None:
        raise CommandError("not a module that 'replicate-async types' wrote.")
    ref = _parsed(header.ref)
    found = await sources.find(ref, pinned=False)
    # The description of a model may change at any time; its types are of a version.
    about = said[: said.rindex("Generated from ")].strip()
    source = module_source(header.ref, found.document, description=about)
    if ref.version is not None and found.latest not in {None, ref.version}:
        note(f"{path}: {ref.model} has a newer version, {str(found.latest)[:_SHOWN_ID]}")
    new = ast.parse(source)
    if drift.same(old, new):
        return True
    write(one_line(f"{path}: {'; '.join(drift.changes(old, new))}") + "\n")
    if diff:
        before, after = (text.splitlines(keepends=True) for text in (there, source))
        write("".join(difflib.unified_diff(before, after, str(path), f"{path} as it would be")))
    return False
