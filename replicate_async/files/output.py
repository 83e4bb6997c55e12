"""Files in the output of a model."""

from __future__ import annotations

import asyncio
import mimetypes
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self

from replicate_async.arguments import check_count, check_flags, check_functions, check_instance
from replicate_async.core.endpoint import shorten
from replicate_async.errors import ClientStateError, FileError, FileTooLargeError, NotFoundError
from replicate_async.files import data_url
from replicate_async.files.download import Download, Piece
from replicate_async.files.find import Place, at
from replicate_async.files.names import (
    name_in_disposition,
    name_in_url,
    safe_name,
    with_suffix,
)
from replicate_async.files.opener import FileOpener
from replicate_async.files.save import checked_path, save_file


class FileClient(Protocol):
    """A client that files can be fetched with: `replicate_async.Replicate`."""

    @property
    def _file_opener(self) -> FileOpener: ...


class FileOutput:
    """A file in the output of a model.

    ``await f.save("out.png")`` or ``await f.save("folder/")`` saves it, ``await f.read()`` returns
    its bytes, ``async for chunk in f`` yields them as they arrive, and ``str(f)`` is its URL. In
    the input of another model it is sent as its URL. Its host never receives the API token. A
    download that breaks off is resumed; an expired URL is looked up again once.

    Files are equal when their URLs are. A file that was unpickled, or made from a URL, needs a
    client before it can be fetched: ``f.with_client(client)``.

    Args:
        url: The URL of the file, or a data URL.
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
        check_instance("url", url, str)
        self._url = url
        self._source: FileOpener | None = None
        self._prediction_id: str | None = None
        self._place: Place | None = None
        self._data: bytes | None = None
        self._size: int | None = None
        self._disposition = ""
        self._content_type = data_url.media_type(url) if _is_data(url) else None

    @classmethod
    def _made_by(
        cls, source: FileOpener, url: str, prediction_id: str, place: Place | None
    ) -> Self:
        file = cls(url)
        file._source, file._prediction_id, file._place = source, prediction_id, place
        return file

    def with_client(self, client: FileClient) -> Self:
        """Fetch the file through another client from now on; returns the file itself.

        Args:
            client: The client, which is not closed.
        """
        self._source = client._file_opener  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - see FileClient
        return self

    @property
    def url(self) -> str:
        """The URL in the prediction's output; a data URL holds the file itself."""
        return self._url

    @property
    def name(self) -> str:
        """A safe file name: from the answer of the host, before that from the URL."""
        given = name_in_disposition(self._disposition)
        if not given and not _is_data(self._url):
            given = name_in_url(self._url)
        return with_suffix(safe_name(given), self._content_type)

    @property
    def size(self) -> int | None:
        """The number of bytes; None until the host has answered."""
        return len(self._data) if self._data is not None else self._size

    @property
    def content_type(self) -> str | None:
        """The media type: from the answer of the host, before that from the name, or None."""
        return self._content_type or mimetypes.guess_type(self.name)[0]

    @property
    def data(self) -> bytes | None:
        """The bytes, after `read` has read them."""
        return self._data

    async def read(self, *, max_size: int | None = None) -> bytes:
        """Return the bytes, and keep them in `data`.

        Example::

            (file,) = await client.run("owner/name", {"prompt": "Hi"})
            data = await file.read(max_size=10_000_000)

        Args:
            max_size: The most bytes; no limit by default.

        Raises:
            FileTooLargeError: The file is larger than *max_size*.
            OutputExpiredError: The file is gone.
            FileError: The host of the file refuses it.
            UntrustedURLError: The URL is not a public https one.
        """
        chunks: list[bytes] = []
        end = 0
        async with aclosing(self._pieces(max_size=max_size)) as pieces:
            async for piece in pieces:
                if piece.start != end:  # the download has started again
                    chunks.clear()
                end = piece.start + len(piece.data)
                chunks.append(piece.data)
        self._data = b"".join(chunks)
        return self._data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = 0
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                if piece.start != end:
                    raise FileError(
                        f"{self.name} broke off and cannot be resumed; use read() or save(), which "
                        "start again."
                    )
                end += len(piece.data)
                if piece.data:
                    yield piece.data

    async def _pieces(
        self, start: int = 0, validator: str = "", *, max_size: int | None = None
    ) -> AsyncGenerator[Piece]:
        """Yield the bytes that `read` has kept, that a data URL holds, or that are downloaded."""
        check_count("max_size", max_size, 0, sys.maxsize)
        data = self._data
        if data is None and _is_data(self._url):
            data = await asyncio.to_thread(data_url.decode, self._url)
        if data is not None:
            if max_size is not None and len(data) > max_size:
                raise FileTooLargeError(f"{self.name} is larger than {max_size:,} bytes.")
            yield Piece(0, data, "")
            return
        if self._source is None:
            raise ClientStateError(
                f"{self!r} has no client to be fetched with; give it one with "
                "f.with_client(client)."
            )
        download = Download(
            self._source.open,
            self._url,
            self._refreshed,
            start=start,
            validator=validator,
            max_size=max_size,
        )
        async with aclosing(download.pieces()) as pieces:
            async for piece in pieces:
                self._size = download.size
                self._content_type = download.content_type or self._content_type
                self._disposition = download.disposition or self._disposition
                yield piece

    async def save(
        self,
        path: str | PathLike[str],
        *,
        overwrite: bool = False,
        max_size: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Path:
        """Save the file and return its path.

        The file appears complete or not at all. An interrupted download is resumed by the next
        save to the same path, also after the process was killed.

        Example::

            (file,) = await client.run("owner/name", {"prompt": "Hi"})
            path = await file.save("pictures/")

        Args:
            path: A file or a folder. A path that ends in a slash is a folder, and is made if it
                does not exist. In a folder the file gets the name that its host gives, made safe,
                and a number if that name is taken.
            overwrite: Whether to replace an existing file; a symbolic link is never replaced.
            max_size: The most bytes; no limit by default.
            on_progress: Called on the event loop with the bytes saved so far, first when the host
                has answered.

        Raises:
            TargetExistsError: There is a file, and *overwrite* is False.
            FileTooLargeError: The file is larger than *max_size*.
            FileError: The disk is full, the folder is not writable, or the host refuses the file.
            OutputExpiredError: The file is gone.
            UntrustedURLError: The URL is not a public https one.
        """
        check_flags(overwrite=overwrite)
        check_functions(on_progress=on_progress)

        async def name() -> str:
            return safe_name(self.name)

        return await save_file(
            partial(self._pieces, max_size=max_size),
            self._url,
            checked_path(path, "path"),
            name=name,
            overwrite=overwrite,
            on_write=on_progress,
        )

    async def _refreshed(self) -> str | None:
        if self._source is None or self._prediction_id is None or self._place is None:
            return None
        try:
            prediction = await self._source.get(self._prediction_id)
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
        from replicate_async.files.notebook import mimebundle  # noqa: PLC0415 - in notebooks only

        del include, exclude  # a notebook chooses from the whole bundle
        return mimebundle(self._url, self.name, self.content_type, self._data, repr(self))

    def __eq__(self, other: object) -> bool:
        return self._url == other._url if isinstance(other, FileOutput) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._url)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        names = (name for name in self.__slots__ if name != "__weakref__")
        return None, {name: getattr(self, name) for name in names} | {"_source": None}


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"
