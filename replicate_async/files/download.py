"""Downloading a file, with reconnects that resume it."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from replicate_async.core.backoff import backoff
from replicate_async.core.endpoint import shorten
from replicate_async.errors import (
    APIConnectionError,
    FileError,
    FileTooLargeError,
    OutputExpiredError,
    TLSError,
    TruncatedBodyError,
)
from replicate_async.files.content_encoding import KNOWN, Decompressor, content_encodings

MAX_DECOMPRESSED: Final = 64 * 1024 * 1024
"""Bytes of a decompressed file, unless *max_size* is given."""

_MAX_FAILURES: Final = 5
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_EXPIRED: Final = frozenset({403, 404, 410})
_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]{1,512}"', re.ASCII)


class FileStream(Protocol):
    """The body of an answer, read as it arrives."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by case-insensitive name."""
        ...

    @property
    def encodings(self) -> Sequence[str]:
        """The Content-Encoding headers."""
        ...

    async def read(self) -> bytes:
        """Return the bytes that have arrived, at least one; empty at the end."""
        ...

    def close(self) -> None:
        """Close the connection at once."""
        ...


OpenFile: TypeAlias = Callable[[str, int, str], Awaitable[FileStream]]
"""Opens a URL from a byte on, if the file still has an ETag (the third argument)."""

Refresh: TypeAlias = Callable[[], Awaitable[str | None]]
"""Looks up the current URL of a file; None if there is none."""


class Piece(NamedTuple):
    """Bytes of a file, their position, and the strong ETag of the file, which may be empty."""

    start: int
    data: bytes
    validator: str


class Download:
    """Downloads *url*, from byte *start* on if the file still has the ETag *validator*.

    A broken connection is reopened and the download resumed, as long as new bytes arrive. When the
    file has changed, or its host cannot resume, the pieces start at 0 again. *refresh* is called
    once, when *url* has expired.
    """

    def __init__(
        self,
        open_file: OpenFile,
        url: str,
        refresh: Refresh,
        *,
        start: int = 0,
        validator: str = "",
        max_size: int | None = None,
    ) -> None:
        self._open_file = open_file
        self._url = url
        self._refresh: Refresh | None = refresh
        self._max_size = max_size
        self._stream: FileStream | None = None
        self._position = start
        self._furthest = start
        self._skip = 0
        self._failures = 0
        self._encodings: list[str] = []
        self._decompressor: Decompressor | None = None
        self._finished = False
        self._validator = validator  # empty if the file cannot be resumed
        self.size: int | None = None
        self.content_type: str | None = None
        self.disposition: str = ""

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Yield the bytes; the first piece is empty, and comes when the host has answered."""
        try:
            await self._connect()
            yield Piece(self._position, b"", self._validator)
            while not self._finished:
                try:
                    if self._stream is None:
                        await self._connect()
                    elif (piece := await self._next(self._stream)).data:
                        yield piece
                except APIConnectionError as error:
                    await self._pause(error)
        finally:
            self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _next(self, stream: FileStream) -> Piece:
        try:
            data = await (self._decompressor or stream).read()
        except EOFError:
            problem = f"broke off within its {self._encodings[0]} data."
            raise TruncatedBodyError(f"{self._shown_url} {problem}") from None
        except zlib.error as error:
            problem = f"comes as {self._encodings[0]} that cannot be read: {error}."
            raise FileError(f"{self._shown_url} {problem}") from None
        if not data:
            # After a part of a file of unknown length, only another request tells its end.
            is_part = stream.status == 206 and self._validator
            size = math.inf if self.size is None and is_part else self.size
            if self._skip or (size is not None and self._position < size):
                raise TruncatedBodyError(f"{self._shown_url} broke off at byte {self._position:,}.")
            self._finished = True
            self._close()
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        piece = Piece(self._position, data[skipped:], self._validator)
        self._position += len(piece.data)
        self._check_size(self._position)
        return piece

    async def _connect(self) -> None:
        # Without a validator a host cannot resume, and sends the file from its start.
        starts = (self._position, 0) if self._validator and self._position else (0,)
        for start in starts:
            stream = await self._request(start)
            try:
                if self._accept(stream, start):
                    return
            except BaseException:
                stream.close()
                raise
            stream.close()
            self._validator = ""
        raise FileError(f"{self._shown_url} was answered with a part that was not requested.")

    async def _request(self, start: int) -> FileStream:
        """Open the file; an expired URL is looked up again once."""
        while True:
            stream = await self._open_file(self._url, start, self._validator)
            if stream.status not in _EXPIRED:
                return stream
            stream.close()
            refresh, self._refresh = self._refresh, None
            url = None if refresh is None else await refresh()
            if url is None or url == self._url:
                raise OutputExpiredError(
                    f"{self._shown_url} is not there any more ({stream.status}): outputs are "
                    "removed an hour after the end. Run the model again, and save its files sooner."
                )
            self._url = url

    def _accept(self, stream: FileStream, start: int) -> bool:
        """Take *stream* as the body, unless it is another part than the requested one."""
        headers = stream.headers
        span = _RANGE.fullmatch(headers.get("Content-Range", ""))
        if stream.status == 416 and start and span is not None and span[3] == str(start):
            stream.close()
            self.size = start  # the whole file was downloaded before
            self._finished = True
            return True
        self._encodings = content_encodings(stream.encodings)
        if stream.status in {206, 416} and not self._is_continuation(stream, span, start):
            return False
        if stream.status not in {200, 206}:
            raise FileError(
                f"{self._shown_url} cannot be fetched: its host answered {stream.status}."
            )
        self._decompressor = None
        for encoding in reversed(self._encodings):  # the last one was applied last
            if encoding not in KNOWN:
                problem = f"comes in the unknown encoding {shorten(encoding)}."
                raise FileError(f"{self._shown_url} {problem}")
            self._decompressor = Decompressor((self._decompressor or stream).read, encoding)
        self._skip = 0
        etag = headers.get("ETag", "")
        if stream.status == 206:
            self._position = start
        elif self._validator and etag == self._validator:
            self._skip = self._position
        else:
            self._position = 0
        if stream.status == 200 or not start:  # else it is that of the part before
            self._validator = etag if _STRONG.fullmatch(etag) and not self._encodings else ""
        self._read_headers(stream, span)
        self._stream = stream
        return True

    def _is_continuation(self, stream: FileStream, span: re.Match[str] | None, start: int) -> bool:
        if stream.status != 206 or span is None or self._encodings:
            return False
        etag = stream.headers.get("ETag", self._validator)
        return span[1] == str(start) and etag == (self._validator or etag)

    def _read_headers(self, stream: FileStream, span: re.Match[str] | None) -> None:
        headers = stream.headers
        self.content_type = headers.get("Content-Type") or None
        self.disposition = headers.get("Content-Disposition", "")
        length = headers.get("Content-Length", "")
        if stream.status == 206 and span is not None:
            if span[3] != "*":  # else it is as long as an earlier answer said
                self.size = int(span[3])
        else:
            is_stated = length.isascii() and length.isdecimal() and not self._encodings
            self.size = int(length) if is_stated else None
        if self.size is not None:
            self._check_size(self.size)

    def _check_size(self, size: int) -> None:
        limit = self._max_size
        if limit is None and self._encodings:
            limit = MAX_DECOMPRESSED
        if limit is not None and size > limit:
            raise FileTooLargeError(
                f"{self._shown_url} is larger than {limit:,} bytes"
                f"{' once it is decompressed' if self._encodings else ''}; max_size= allows more."
            )

    async def _pause(self, error: APIConnectionError) -> None:
        """Pause before the next connection, or raise *error* after too many without new bytes."""
        self._close()
        if self._position > self._furthest:
            self._furthest = self._position
            self._failures = 0
            return
        self._failures += 1
        if self._failures > _MAX_FAILURES or isinstance(error, TLSError):
            raise error
        await asyncio.sleep(backoff(self._failures, base=_FIRST_PAUSE, cap=_LONGEST_PAUSE))

    @property
    def _shown_url(self) -> str:
        # Without its query, which may grant access to the file.
        return shorten(self._url.partition("?")[0])
