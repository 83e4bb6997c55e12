"""``--output``: where the files that a model made go, and how far they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, cast

from cyclopts import Parameter

from replicate_async import FileOutput, SaveProgress, TargetExistsError, save_all
from replicate_async.cli.console import note, write, write_output
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.cli.progress import Bar
from replicate_async.files.names import split

Output = Annotated[
    str | None,
    Parameter(
        name=("--output", "-o"),
        help="Save files here: a folder, or a name with {index}, {name}, {stem}, {ext} or {id}.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, Parameter(help="With --output: replace files that are there.", show_default=False)
]

_FIELDS: Final = ("index", "name", "stem", "ext", "id")
_FIELD: Final = re.compile(r"\{([^{}]*)\}")


class Saver:
    """Saves files as *output* says: into that folder, or under names by that pattern."""

    def __init__(self, output: str, *, force: bool) -> None:
        if not output or output.startswith("-"):
            raise UsageError(f"--output takes a folder or a name, not {output!r}.")
        folder, name = os.path.split(output)
        if not name or Path(output).is_dir():
            folder, name = output, ""
        unknown = [field for field in _FIELD.findall(name) if field not in _FIELDS]
        if unknown:
            known = ", ".join(f"{{{field}}}" for field in _FIELDS)
            raise UsageError(f"--output has no {{{unknown[0]}}}; it knows {known}.")
        self._output = output
        self._folder = folder or "."
        self._pattern = name
        self._force = force
        self._saved = 0
        self.paths: list[Path] = []

    async def save(self, files: Sequence[FileOutput], prediction_id: str) -> list[Path]:
        """Save *files*, which *prediction_id* made, and return where they are."""
        before = self._saved
        self._saved += len(files)
        title = files[0].name if len(files) == 1 else f"{len(files)} files"
        try:
            with Bar(title) as bar:
                progress = _Progress(bar)
                if self._pattern and not _FIELD.search(self._pattern) and self._saved == 1:
                    # A name that the user gave is that name, or none.
                    paths = [await files[0].save(self._output, overwrite=self._force)]
                else:
                    paths = await save_all(
                        files,
                        self._folder,
                        overwrite=self._force,
                        name=lambda at, given: self._name(before + at, given, prediction_id),
                        on_progress=progress.show,
                    )
        except TargetExistsError as error:
            raise CommandError(f"{error.path} is there already; --force replaces it.") from None
        self.paths += paths
        return paths

    async def save_output(self, output: object, prediction_id: str, *, joined: bool) -> None:
        """Save the files in *output*, and print it with their paths in their places."""
        files = files_in(output)
        if not files:
            note("The output has no files; nothing was saved.")
            write_output(output, joined=joined)
            return
        paths = await self.save(files, prediction_id)
        if isinstance(output, FileOutput) or output == files:
            write("".join(f"{path}\n" for path in paths))
        else:
            write_output(_replaced(output, iter(paths)), joined=joined)

    def _name(self, number: int, given: str, prediction_id: str) -> str:
        if not self._pattern:
            return given
        stem, ext = split(given)
        values = {"index": str(number), "name": given, "stem": stem, "ext": ext[1:]}
        values["id"] = prediction_id
        return _FIELD.sub(lambda match: values[match[1]], self._pattern)


class _Progress:
    """The bytes of several files as one number."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._saved: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def show(self, progress: SaveProgress) -> None:
        file = progress.file
        self._saved[id(file)] = progress.saved
        self._sizes[id(file)] = file.size or progress.saved
        known = len(self._sizes) == progress.files
        self._bar.show(sum(self._saved.values()), sum(self._sizes.values()) if known else None)


def files_in(output: object) -> list[FileOutput]:
    """Return the files in *output*, in order."""
    if isinstance(output, FileOutput):
        return [output]
    return [file for part in _parts(output) for file in files_in(part)]


def _parts(output: object) -> Iterable[object]:
    if isinstance(output, dict):
        return cast("dict[str, object]", output).values()
    return cast("list[object]", output) if isinstance(output, list) else ()


def _replaced(output: object, paths: Iterator[Path]) -> object:
    """Return *output* with the next of *paths* for every file in it."""
    if isinstance(output, FileOutput):
        return str(next(paths))
    if isinstance(output, dict):
        items = cast("dict[str, object]", output).items()
        return {key: _replaced(item, paths) for key, item in items}
    if isinstance(output, list):
        return [_replaced(item, paths) for item in cast("list[object]", output)]
    return output
