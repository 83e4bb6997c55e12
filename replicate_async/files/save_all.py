"""Saving all files of an output into one folder."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.names import numbered, safe_name
from replicate_async.files.output import FileOutput
from replicate_async.files.save import checked_path, saver_of
from replicate_async.files.threads import run_in_thread
from replicate_async.schemas import Prediction, Training


class SaveProgress(NamedTuple):
    """The progress of `save_all`: of one file, and of all of them."""

    file: FileOutput
    saved: int
    """Bytes of this file that are saved."""
    path: Path | None
    """Where the file is; None until it is complete."""
    files_done: int
    files: int


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

    output: a result of ``client.run`` or ``client.parse_output``; files are found in lists,
        mappings, structs and dataclasses.
    folder: is made if it does not exist.
    overwrite: replace existing files. Otherwise a file whose name is taken gets a number. Two
        files of one call never get the same name; they are numbered in their order.
    concurrency: how many files are saved at a time.
    name: makes the name of a file from its number (from 1) and the name that its host gives. The
        result is made safe: it never leaves the folder.
    on_progress: is called on the event loop after each piece of a file.

    The first error cancels the other files and is raised; see `FileOutput.save`.
    """
    if isinstance(output, Prediction | Training):
        raise InvalidArgumentError(
            "The output of a Prediction is URLs; pass client.parse_output(prediction)."
        )
    if isinstance(concurrency, bool) or concurrency < 1:
        raise InvalidArgumentError(f"concurrency={shorten(concurrency)} must be 1 or more.")
    place = checked_path(folder, "folder")
    files = list(_files_in(output, frozenset()))
    paths: dict[int, Path] = {}
    names = _NameAssigner(Path(place), len(files), overwrite=overwrite)
    slots = asyncio.Semaphore(concurrency)

    async def save(index: int, file: FileOutput) -> None:
        def report(saved: int) -> None:
            if on_progress is not None:
                on_progress(SaveProgress(file, saved, paths.get(index), len(paths), len(files)))

        async with (
            slots,
            saver_of(file, place, is_folder=True, overwrite=overwrite, on_write=report) as saver,
        ):
            await saver.begin()
            given = file.name
            names.request(index, safe_name(given if name is None else name(index + 1, given)))
            await saver.copy()
            paths[index] = await saver.publish(await names.assigned(index))
            report(saver.written)

    try:
        async with asyncio.TaskGroup() as group:
            for index, file in enumerate(files):
                group.create_task(save(index, file))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [paths[index] for index in range(len(files))]


class _NameAssigner:
    """Gives each file of a call a name of its own, in the order of the files.

    Files become complete in any order; their numbers must not depend on it.
    """

    def __init__(self, folder: Path, count: int, *, overwrite: bool) -> None:
        self._folder = folder
        self._overwrite = overwrite
        loop = asyncio.get_running_loop()
        self._requested: list[asyncio.Future[str]] = [loop.create_future() for _ in range(count)]
        self._names: list[str] = []
        self._claimed: set[str] = set()
        self._next_number: dict[str, int] = {}
        self._lock = asyncio.Lock()

    def request(self, index: int, name: str) -> None:
        """Ask for *name* for the file number *index*."""
        self._requested[index].set_result(name)

    async def assigned(self, index: int) -> str:
        """Return the name of file number *index*, after those before it have requested theirs."""
        async with self._lock:
            while len(self._names) <= index:
                wanted = await self._requested[len(self._names)]
                self._names.append(await run_in_thread(self._claim, wanted))
        return self._names[index]

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


def _files_in(value: object, parents: frozenset[int]) -> Iterator[FileOutput]:
    """Yield the files in *value*, in order; *parents* are the ids of the values around it."""
    if isinstance(value, FileOutput):
        yield value
    elif id(value) not in parents:  # a value that contains itself is walked once
        for part in _parts(value):
            yield from _files_in(part, parents | {id(value)})


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
