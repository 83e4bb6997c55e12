"""``--output``: the files of an output, saved into a folder or under names by a pattern."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from replicate_async import FileOutput, SaveProgress, save_all
from replicate_async.cli.console import note, write, write_output
from replicate_async.cli.errors import UsageError
from replicate_async.cli.progress import FileProgress
from replicate_async.files.names import split
from replicate_async.files.save_all import files_in

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

    async def save(self, files: Sequence[FileOutput], prediction_id: str) -> list[Path]:
        """Save the files of a prediction; returns their paths."""
        before = self._saved
        self._saved += len(files)
        title = files[0].name if len(files) == 1 else f"{len(files)} files"
        with FileProgress(title) as progress:
            if self._pattern and not _FIELD.search(self._pattern) and self._saved == 1:
                return [await save_file(files[0], self._output, progress, force=self._force)]
            return await save_all(
                files,
                self._folder,
                overwrite=self._force,
                name=lambda at, given: self._name(before + at, given, prediction_id),
                on_progress=_total(progress),
            )

    async def save_output(self, output: object, prediction_id: str, *, joined: bool) -> None:
        """Save the files in *output*, and print it with their paths in their places."""
        files = list(files_in(output))
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
        values = (str(number), given, stem, ext[1:], prediction_id)
        return _FIELD.sub(lambda match: values[_FIELDS.index(match[1])], self._pattern)


async def save_file(file: FileOutput, path: str, progress: FileProgress, *, force: bool) -> Path:
    """Save *file* at *path*, a name or a folder."""
    return await file.save(
        path, overwrite=force, on_progress=lambda saved: progress.show(saved, file.size)
    )


def _total(progress: FileProgress) -> Callable[[SaveProgress], None]:
    """Return a function that shows the bytes of several files as one number."""
    saved: dict[int, int] = {}
    sizes: dict[int, int] = {}

    def show(state: SaveProgress) -> None:
        saved[id(state.file)] = state.saved
        sizes[id(state.file)] = state.file.size or state.saved
        total = sum(sizes.values()) if len(sizes) == state.files else None
        progress.show(sum(saved.values()), total)

    return show


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
