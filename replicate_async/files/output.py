"""A file in a model's output."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, Self, TypeVar

from replicate_async.core.endpoint import shorten
from replicate_async.core.origin import Base
from replicate_async.errors import ClientStateError, FileError, FileTooLargeError, NotFoundError
from replicate_async.files import data_url
from replicate_async.files.download import Download, FileStream, OpenFile
from replicate_async.files.find import Place, Shape, at, strings_in, wrapped
from replicate_async.files.names import (
    name_in_disposition,
    name_in_url,
    safe_name,
    with_suffix,
)
from replicate_async.files.notebook import mimebundle
from replicate_async.schemas import Prediction
from replicate_async.schemas.output import decode_output

T = TypeVar("T")

_LARGE: Final = 1024 * 1024
"""Characters of a data URL that take long enough to decode for a thread."""


class Predictions(Protocol):
    """What looks a prediction up again."""

    async def get(self, prediction_id: str) -> Prediction:
        """Fetch a prediction as it stands now."""
        ...


class FileClient(Protocol):
    """What files need of a client; a `replicate_async.Replicate` has it."""

    @property
    def predictions(self) -> Predictions:
        """The runs of models."""
        ...

    async def open_file(self, url: str, start: int = 0, validator: str = "") -> FileStream:
        """Open the file at *url*."""
        ...


class FileSource(NamedTuple):
    """Where files come from."""

    open: OpenFile
    get: Callable[[str], Awaitable[Prediction]]
    base: Base

    def output(self, prediction: Prediction, shape: Shape | None) -> Any:
        """Return the output of *prediction* with its files as `FileOutput`."""

        def wrap(url: str, place: Place) -> FileOutput:
            return FileOutput(url).bound(self, prediction.id, place)

        return wrapped(prediction.output, self.base, shape, wrap)

    def output_as(self, prediction: Prediction, type: type[T], shape: Shape | None = None) -> T:
        """Return the output of *prediction* as a *type*, which may have `FileOutput` in it.

        A list of strings is joined to a text by the *shape*, or by `decode_output` without one.
        """
        places: dict[str, Place] | None = None

        def hook(wanted: object, found: object) -> FileOutput:
            nonlocal places
            if wanted is not FileOutput or not isinstance(found, str):
                raise TypeError(f"{found.__class__.__name__} is no {shorten(wanted)}")
            if places is None:
                places = dict(strings_in(prediction.output))
            return FileOutput(found).bound(self, prediction.id, places.get(found))

        is_text = None if shape is None else shape.is_text
        return decode_output(prediction.output, type, hook, is_text=is_text)


class FileOutput:
    """A file that a model made: where it is, and what is in it once it is read.

    ``await f.save("out.png")`` or ``await f.save("folder/")`` saves it, ``await f.read()`` returns
    its bytes, ``async for chunk in f`` yields them as they come; ``str(f)`` is its URL, and so is
    what a model gets that has it in its input. The token does not go to the host that delivers it.
    A download that breaks off is resumed; an address that has expired is looked up once more.

    Files are equal when their URLs are. One that was unpickled, or made of a URL, needs a client
    before it can be fetched: ``f.with_client(client)``.
    """

    __slots__ = (
        "__weakref__",
        "_content_type",
        "_data",
        "_disposition",
        "_place",
        "_prediction_id",
        "_size",
        "_source",
        "_url",
    )

    def __init__(self, url: str) -> None:
        self._url = url
        self._source: tuple[OpenFile, Callable[[str], Awaitable[Prediction]]] | None = None
        self._prediction_id: str | None = None
        self._place: Place | None = None
        self._data: bytes | None = None
        self._size: int | None = None
        self._disposition = ""
        self._content_type = data_url.media_type(url) if _is_data(url) else None

    def bound(self, source: FileSource, prediction_id: str, place: Place | None) -> Self:
        """Say where the file comes from, and where in the output of which run it is."""
        self._source = (source.open, source.get)
        self._prediction_id = prediction_id
        self._place = place
        return self

    def with_client(self, client: FileClient) -> Self:
        """Fetch it through *client* from now on; returns the file itself."""
        self._source = (client.open_file, client.predictions.get)
        return self

    @property
    def url(self) -> str:
        """Where the prediction says that it is; a data URL holds the file itself."""
        return self._url

    @property
    def name(self) -> str:
        """One plain file name: by the URL, and by what its host calls it once that is known."""
        said = name_in_disposition(self._disposition)
        if not said and not _is_data(self._url):
            said = name_in_url(self._url)
        return with_suffix(safe_name(said), self._content_type)

    @property
    def size(self) -> int | None:
        """Its bytes; None until its host has said so."""
        return len(self._data) if self._data is not None else self._size

    @property
    def content_type(self) -> str | None:
        """Its media type, by what its host says, or by its name until then; None if unknown."""
        return self._content_type or mimetypes.guess_type(self.name)[0]

    @property
    def data(self) -> bytes | None:
        """Its bytes, if `read` has read them."""
        return self._data

    async def read(self, *, max_size: int | None = None) -> bytes:
        """Return its bytes, which stay in `data`.

        Raises `FileTooLargeError` for more than *max_size* bytes, `OutputExpiredError` when it is
        gone, `FileError` when its host refuses it, `UntrustedURLError` when its URL is not a public
        https one.
        """
        if self._data is None:
            if _is_data(self._url):
                self._data = await self.decoded(max_size)
            else:
                self._data = await self._fetched(max_size)
        elif max_size is not None and len(self._data) > max_size:
            raise FileTooLargeError(f"{self.name} is larger than {max_size:,} bytes.")
        return self._data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._data is not None or _is_data(self._url):
            yield self._data if self._data is not None else await self.decoded(None)
            return
        download = self.download()
        end = 0
        try:
            await download.open()
            self.learn(download)
            while (piece := await download.read()).data:
                if piece.start != end:
                    raise FileError(
                        f"{self.name} cannot be resumed, or has changed meanwhile; read() and "
                        "save() begin anew then."
                    )
                end += len(piece.data)
                yield piece.data
        finally:
            download.close()

    async def save(
        self,
        path: str | PathLike[str],
        *,
        overwrite: bool = False,
        max_size: int | None = None,
    ) -> Path:
        """Save it at *path* and return where it is.

        *path* is a file, or a folder: one that exists, or is made because the path ends in a
        slash. In a folder the file gets the name that its host gives it, made harmless, and a
        number if there is one of that name. A file is there whole or not at all; it replaces
        another with *overwrite* only (`TargetExistsError`), and never a symbolic link. What a
        killed process had downloaded is found and gone on with.

        Raises `FileError` when the disk is full or the folder not writable, and what `read` raises.
        """
        from replicate_async.files.save import save_file  # noqa: PLC0415 - it knows this module

        return await save_file(self, path, overwrite=overwrite, max_size=max_size)

    async def _fetched(self, max_size: int | None) -> bytes:
        download = self.download(max_size=max_size)
        pieces: list[bytes] = []
        end = 0
        try:
            await download.open()
            self.learn(download)
            while (piece := await download.read()).data:
                if piece.start != end:
                    pieces.clear()
                    end = piece.start
                end += len(piece.data)
                pieces.append(piece.data)
            self.learn(download)
        finally:
            download.close()
        return b"".join(pieces)

    async def decoded(self, max_size: int | None) -> bytes:
        """Return what a data URL holds."""
        if len(self._url) > _LARGE:
            data = await asyncio.to_thread(data_url.decode, self._url)
        else:
            data = data_url.decode(self._url)
        if max_size is not None and len(data) > max_size:
            raise FileTooLargeError(f"{self.name} is larger than {max_size:,} bytes.")
        return data

    def download(
        self, *, start: int = 0, validator: str = "", max_size: int | None = None
    ) -> Download:
        """Return a download of it, not begun; raises `ClientStateError` without a client."""
        if self._source is None:
            raise ClientStateError(
                f"{self!r} has no client to be fetched with; give it one with "
                "f.with_client(client)."
            )
        return Download(
            self._source[0],
            self._url,
            self._refreshed,
            start=start,
            validator=validator,
            max_size=max_size,
        )

    def learn(self, download: Download) -> None:
        """Note what its host has said of it."""
        self._size = download.size
        self._content_type = download.content_type or self._content_type
        self._disposition = download.disposition or self._disposition

    async def _refreshed(self) -> str | None:
        if self._source is None or self._prediction_id is None or self._place is None:
            return None
        try:
            prediction = await self._source[1](self._prediction_id)
        except NotFoundError:
            return None
        url = at(prediction.output, self._place)
        return url if isinstance(url, str) and not _is_data(url) else None

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        size = "" if self.size is None else f", {self.size:,} bytes"
        return f"<FileOutput {shorten(self._url[:200].partition('?')[0])}{size}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        del include, exclude  # a notebook picks from what there is
        return mimebundle(self._url, self.name, self.content_type, self._data, repr(self))

    def __eq__(self, other: object) -> bool:
        return self._url == other._url if isinstance(other, FileOutput) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._url)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self._prediction_id, self._place, self._data, self._size, self._disposition)
        return type(self), (self._url,), (*state, self._content_type)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._prediction_id, self._place, self._data, self._size, self._disposition = state[:5]
        self._content_type = state[5]


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"
