"""Saving files: from the network to the disk, without holding up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, TypeVar, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.core.tasks import wait_uncancelled
from replicate_async.errors import APIConnectionError, FileError, InvalidArgumentError
from replicate_async.files.download import Download
from replicate_async.files.folder import Folder, Part
from replicate_async.files.names import numbered, safe_name
from replicate_async.files.output import FileOutput
from replicate_async.schemas import Prediction, Training

P = ParamSpec("P")
T = TypeVar("T")

_BATCH: Final = 1024 * 1024
"""Bytes that are written at once: more would leave the cache before they are."""
_WORTH_KEEPING: Final = 8 * 1024 * 1024
"""Bytes; less is downloaded anew sooner than anybody misses it."""
_ADVICE: Final = {
    errno.ENOENT: 'make the folder first, or give a folder as "folder/"',
    errno.ENOTDIR: "a part of the path is a file",
    errno.ENOSPC: "make room, and save it again",
    errno.EACCES: "give a folder that may be written to",
}


class SaveProgress(NamedTuple):
    """How far `save_all` has come: with one file, and with all of them."""

    file: FileOutput
    saved: int
    """Bytes of this file that are there."""
    path: Path | None
    """Where it is, once it is whole."""
    files_done: int
    files: int


class _Names:
    """The names of the files of one call, numbered in their order where they are the same.

    The file that is first on the disk is not always the first of the output.
    """

    def __init__(self, folder: Path, count: int, *, overwrite: bool) -> None:
        self._folder = folder
        self._overwrite = overwrite
        loop = asyncio.get_running_loop()
        self._wanted: list[asyncio.Future[str]] = [loop.create_future() for _ in range(count)]
        self._names: list[str] = []
        self._claimed: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._naming = asyncio.Lock()

    def want(self, at: int, name: str) -> None:
        """Note the *name* that file number *at* should have."""
        if not self._wanted[at].done():
            self._wanted[at].set_result(name)

    async def of(self, at: int) -> str:
        """Return the name of file number *at*, once those of all before it are known."""
        async with self._naming:
            while len(self._names) <= at:
                wanted = await self._wanted[len(self._names)]
                self._names.append(await _in_thread(self._free, wanted))
        return self._names[at]

    def _free(self, wanted: str) -> str:
        number = self._numbers.get(wanted.casefold(), 1)
        while self._is_taken(name := numbered(wanted, number)):
            number += 1
        self._numbers[wanted.casefold()] = number + 1
        self._claimed.add(name.casefold())
        return name

    def _is_taken(self, name: str) -> bool:
        if name.casefold() in self._claimed:
            return True
        return not self._overwrite and os.path.lexists(self._folder / name)


class _Saving:
    """One file on its way to the disk; used once.

    *named* is told the name that its host gives it, and *name* returns the one that it gets.
    """

    def __init__(
        self,
        file: FileOutput,
        *,
        overwrite: bool,
        max_size: int | None = None,
        named: Callable[[str], None] | None = None,
        name: Callable[[], Awaitable[str]] | None = None,
        report: Callable[[int], None] | None = None,
    ) -> None:
        self._file = file
        self._overwrite = overwrite
        self._max_size = max_size
        self._named = named
        self._name = name
        self._report = report
        self._folder: Folder | None = None
        self._target: str | None = None
        self._part: Part | None = None
        self.written: int = 0
        """Bytes that are on their way to the disk, or there."""
        self._writing: asyncio.Future[None] | None = None
        self._keep = False

    async def run(self, path: str, *, is_folder: bool) -> Path:
        """Save it at or in *path*, and return where it is."""
        try:
            await _in_thread(self._open, path, is_folder=is_folder)
            file = self._file
            if file.data is not None:
                self._name_known()
                await self._write_data(file.data)
            elif file.url[:5].lower() == "data:":
                data = await file.decoded(self._max_size)
                self._name_known()
                await self._write_data(data)
            else:
                await self._download()
            return await _in_thread(self._publish, await self._wanted())
        except OSError as error:
            raise _disk_error(error, Path(path)) from None
        except FileError as error:
            error.path = error.path or Path(path)
            raise
        except (APIConnectionError, asyncio.CancelledError):
            self._keep = self.written >= _WORTH_KEEPING
            raise
        finally:
            if self._writing is not None:
                with contextlib.suppress(OSError):
                    await _finished(self._writing)
            await _in_thread(self._close)

    def _open(self, path: str, *, is_folder: bool) -> None:
        make = is_folder or path.endswith(("/", os.sep))
        place = Path(path)
        if make or place.is_dir():
            self._folder = Folder.open(place, make=make)
        else:
            self._target = place.name
            self._folder = Folder.open(place.parent, make=False)
            self._folder.check(place.name, overwrite=self._overwrite)

    @property
    def _key(self) -> str:
        # What is downloaded for one name is not taken for another.
        return f"{self._file.url}\n{self._target or ''}"

    def _make_part(self, validator: str) -> None:
        """Begin anew."""
        self._drop_part(keep=False)
        self._part = self._here.make_part(self._key, validator)
        self.written = 0

    def _find_part(self) -> None:
        self._part = self._here.part(self._key)
        if self._part is not None:
            self.written = self._part.resume()

    def _drop_part(self, *, keep: bool) -> None:
        part, self._part = self._part, None
        if part is not None and self._folder is not None:
            self._folder.drop(part, keep=keep)

    async def _write_data(self, data: bytes) -> None:
        await _in_thread(self._make_part, "")
        for start in range(0, len(data), _BATCH):
            await self._write([data[start : start + _BATCH]])
        await self._written_out()

    async def _download(self) -> None:
        await _in_thread(self._find_part)
        validator = "" if self._part is None else self._part.validator
        start = self.written
        download = self._file.download(start=start, validator=validator, max_size=self._max_size)
        try:
            begin = await download.open()
            self._file.learn(download)
            self._name_known()
            if self._part is None or begin != start:
                await _in_thread(self._make_part, download.validator)
            await self._copy(download)
            self._file.learn(download)
        finally:
            download.close()

    async def _copy(self, download: Download) -> None:
        batch: list[bytes] = []
        end, held = self.written, 0
        while True:
            piece = await download.read()
            if piece.start != end:
                batch, held, end = [], 0, piece.start
                await self._written_out()
                await _in_thread(self._make_part, download.validator)
            batch.append(piece.data)
            held += len(piece.data)
            end += len(piece.data)
            if held >= _BATCH or not piece.data:
                await self._write(batch)
                batch, held = [], 0
            if not piece.data:
                return await self._written_out()

    async def _write(self, batch: list[bytes]) -> None:
        """Write *batch*, which may take until the next one is to be written."""
        await self._written_out()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._begun.write, batch)
        self.written += sum(map(len, batch))
        if self._report is not None:
            self._report(self.written)

    async def _written_out(self) -> None:
        if self._writing is not None:
            await _finished(self._writing)
            self._writing = None

    def _name_known(self) -> None:
        if self._named is not None:
            self._named(self._file.name)

    async def _wanted(self) -> str:
        """Return the name that it is to have."""
        if self._target is not None:
            return self._target
        return safe_name(self._file.name) if self._name is None else await self._name()

    def _publish(self, name: str) -> Path:
        self._begun.settle(self.written)
        unique = self._target is None and not self._overwrite
        return self._here.path / self._here.publish(
            self._begun, name, unique=unique, overwrite=self._overwrite
        )

    @property
    def _here(self) -> Folder:
        assert self._folder is not None  # noqa: S101 - run() opens it first
        return self._folder

    @property
    def _begun(self) -> Part:
        assert self._part is not None  # noqa: S101 - nothing is written before it is made
        return self._part

    def _close(self) -> None:
        keep = self._keep and self._part is not None and bool(self._part.validator)
        try:
            self._drop_part(keep=keep)
        finally:
            if self._folder is not None:
                self._folder.close()


async def save_file(
    file: FileOutput, path: str | PathLike[str], *, overwrite: bool, max_size: int | None
) -> Path:
    """Save *file*; what `FileOutput.save` does."""
    saving = _Saving(file, overwrite=overwrite, max_size=max_size)
    return await saving.run(_path(path, "path"), is_folder=False)


async def save_all(
    output: object,
    folder: str | PathLike[str],
    *,
    overwrite: bool = False,
    concurrency: int = 8,
    name: Callable[[int, str], str] | None = None,
    on_progress: Callable[[SaveProgress], None] | None = None,
) -> list[Path]:
    """Save every file in *output* into *folder*, and return where they are, in their order.

    *output* is what ``client.run`` or ``client.output`` returned: files in lists, mappings, structs
    and dataclasses are found. The folder is made if need be; names are those that the hosts give,
    made harmless, or what *name* makes of a file's number (from 1) and that. No two files of one
    call get the same name: they are numbered in their order. Nothing that is there is replaced
    without *overwrite*.
    *concurrency* bounds how many are saved at a time. *on_progress* is called on the event loop
    whenever a piece has come. The first that fails ends the others, and its error is raised; see
    `FileOutput.save`.
    """
    if isinstance(output, Prediction | Training):
        raise InvalidArgumentError(
            "The output of a Prediction is URLs; pass client.output(prediction)."
        )
    if isinstance(concurrency, bool) or concurrency < 1:
        raise InvalidArgumentError(f"concurrency={shorten(concurrency)} must be 1 or more.")
    where = _path(folder, "folder")
    files = list(_files_in(output, frozenset()))
    paths: dict[int, Path] = {}
    names = _Names(Path(where), len(files), overwrite=overwrite)
    turn = asyncio.Semaphore(concurrency)

    async def save(at: int, file: FileOutput) -> None:
        def report(saved: int) -> None:
            if on_progress is not None:
                on_progress(SaveProgress(file, saved, paths.get(at), len(paths), len(files)))

        def named(given: str) -> None:
            names.want(at, safe_name(given if name is None else name(at + 1, given)))

        async with turn:
            saving = _Saving(
                file,
                overwrite=overwrite,
                named=named,
                name=lambda: names.of(at),
                report=report,
            )
            paths[at] = await saving.run(where, is_folder=True)
            report(saving.written)

    try:
        async with asyncio.TaskGroup() as group:
            for at, file in enumerate(files):
                group.create_task(save(at, file))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [paths[at] for at in range(len(files))]


def _files_in(value: object, holders: frozenset[int]) -> Iterator[FileOutput]:
    """Yield the files in *value*, in order, which is inside of *holders*."""
    if isinstance(value, FileOutput):
        yield value
    elif id(value) not in holders:  # else it holds itself
        for part in _parts(value):
            yield from _files_in(part, holders | {id(value)})


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


def _path(path: object, argument: str) -> str:
    text = _text_of(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidArgumentError(
            f"{argument}={shorten(path)} is no path, is empty or has a NUL in it; give a file or "
            "a folder."
        )
    return text


def _text_of(path: object) -> object:
    return os.fspath(cast("PathLike[str]", path)) if isinstance(path, PathLike) else path


def _disk_error(error: OSError, path: Path) -> FileError:
    advice = _ADVICE.get(error.errno or 0, "")
    said = error.strerror or type(error).__name__
    message = f"{path} cannot be saved: {said}{advice and '; '}{advice}."
    return FileError(message, path=path, errno=error.errno)


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *function*, which may block, in a thread; a cancel of this task waits for its end."""
    return await _finished(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)))


async def _finished(future: asyncio.Future[T]) -> T:
    await wait_uncancelled(future)
    return future.result()
