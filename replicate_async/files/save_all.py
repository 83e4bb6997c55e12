"""Saving all files of an output into one folder."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
from anyio import create_task_group

from replicate_async.arguments import check_count, check_flags, check_functions
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.names import numbered, safe_name
from replicate_async.files.output import FileOutput
from replicate_async.files.save import checked_path, save_file
from replicate_async.files.threads import run_in_thread
from replicate_async.schemas import Prediction, Training


class SaveProgress(NamedTuple):
    """The progress of `save_all`: of one file, and of all of them."""

    file: FileOutput
    """The file that has got on."""
    saved: int
    """Bytes of this file that are saved."""
    path: Path | None
    """Where the file is; None until it is complete."""
    files_done: int
    """Files that are complete."""
    files: int
    """All files of the output."""


async def save_all(
    output: object,
    folder: str | PathLike[str],
    *,
    overwrite: bool = False,
    concurrency: int = 8,
    name: Callable[[int, str], str] | None = None,
    on_progress: Callable[[SaveProgress], None] | None = None,
) -> list[Path]:
    """Save every file in *output* into *folder*; returns their paths, in the order of the output.

    The first error cancels the other files and is raised; see `FileOutput.save`.

    Example::

        output = await client.run("owner/name", {"prompt": "Hi"})
        paths = await save_all(output, "pictures")

    Args:
        output: A result of ``client.run`` or ``client.parse_output``; files are found in lists,
            mappings, structs and dataclasses.
        folder: A folder, which is made if it does not exist.
        overwrite: Whether to replace existing files. Otherwise a file whose name is taken gets a
            number. Two files of one call never get the same name; they are numbered in their order.
        concurrency: How many files are saved at a time.
        name: Makes the name of a file from its number (from 1) and the name that its host gives.
            The result is made safe: it never leaves the folder.
        on_progress: Called on the event loop after each piece of a file.

    Raises:
        InvalidArgumentError: *output* is a prediction, whose files are URLs.
        FileError: A file cannot be fetched or saved.
    """
    if isinstance(output, Prediction | Training):
        raise InvalidArgumentError(
            "The output of a Prediction is URLs; pass client.parse_output(prediction)."
        )
    check_flags(overwrite=overwrite)
    check_functions(name=name, on_progress=on_progress)
    check_count("concurrency", concurrency, 1, sys.maxsize, optional=False)
    place = checked_path(folder, "folder")
    files = list(files_in(output))
    paths: dict[int, Path] = {}
    names = _Names(Path(place), len(files), overwrite=overwrite)
    slots = asyncio.Semaphore(concurrency)

    async def save(index: int, file: FileOutput) -> None:
        written = 0

        def report(saved: int) -> None:
            nonlocal written
            written = saved
            if not names.wanted[index].done():
                given = file.name
                chosen = given if name is None else name(index + 1, given)
                names.wanted[index].set_result(safe_name(chosen))
            if on_progress is not None:
                on_progress(SaveProgress(file, saved, paths.get(index), len(paths), len(files)))

        async with slots:
            paths[index] = await save_file(
                file._pieces,  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - not for callers
                file.url,
                place,
                name=lambda: names.assigned[index],
                is_folder=True,
                overwrite=overwrite,
                on_write=report,
            )
            report(written)

    try:
        # asyncio's group leaves the caller's task counted as cancelled after an error, before 3.13.
        async with create_task_group() as group:
            group.start_soon(names.assign)
            for index, file in enumerate(files):
                group.start_soon(save, index, file)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [paths[index] for index in range(len(files))]


class _Names:
    """The names of the files of a call, each given once, in the order of the files.

    Files become complete in any order; their numbers must not depend on it.
    """

    def __init__(self, folder: Path, count: int, *, overwrite: bool) -> None:
        loop = asyncio.get_running_loop()
        self.wanted: list[asyncio.Future[str]] = [loop.create_future() for _ in range(count)]
        self.assigned: list[asyncio.Future[str]] = [loop.create_future() for _ in range(count)]
        self._folder = folder
        self._overwrite = overwrite
        self._claimed: set[str] = set()
        self._next_number: dict[str, int] = {}

    async def assign(self) -> None:
        """Assign each file a name, once those before it want theirs."""
        for wanted, assigned in zip(self.wanted, self.assigned, strict=True):
            assigned.set_result(await run_in_thread(self._claim, await wanted))

    def _claim(self, wanted: str) -> str:
        number = self._next_number.get(wanted.casefold(), 1)
        while self._is_taken(name := numbered(wanted, number)):
            number += 1
        self._next_number[wanted.casefold()] = number + 1
        self._claimed.add(name.casefold())
        return name

    def _is_taken(self, name: str) -> bool:
        if name.casefold() in self._claimed:
            return True
        return not self._overwrite and os.path.lexists(self._folder / name)


def files_in(value: object, parents: frozenset[int] = frozenset()) -> Iterator[FileOutput]:
    """Yield the files in *value*, in order; *parents* are the ids of the values around it."""
    if isinstance(value, FileOutput):
        yield value
    elif id(value) not in parents:  # a value that contains itself is walked once
        for part in _parts(value):
            yield from files_in(part, parents | {id(value)})


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return list(cast("Mapping[object, object]", value).values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(cast("Iterable[object]", value))
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return ()
