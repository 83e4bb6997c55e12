"""Files: uploads that inputs refer to."""

from __future__ import annotations

import io
import mimetypes
import re
from collections.abc import AsyncIterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from replicate_async.core.endpoint import Endpoint, shorten
from replicate_async.core.multipart import Content, Multipart, Part
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import encode_json
from replicate_async.resources._base import Listing, Resource
from replicate_async.schemas import CreateFile, DownloadFile, File, Page

LIST: Final = Endpoint("GET", "/files", returns=Page[File])
CREATE: Final = Endpoint(
    "POST", "/files", takes=CreateFile, media="multipart/form-data", returns=File, status=(201,)
)
GET: Final = Endpoint("GET", "/files/{file_id}", returns=File)
DELETE: Final = Endpoint("DELETE", "/files/{file_id}", returns=type(None), status=(204,))
DOWNLOAD: Final = Endpoint("GET", "/files/{file_id}/download", query=DownloadFile, returns=bytes)

_LONGEST_FILENAME: Final = 255
_MEDIA_TYPE: Final = re.compile(
    r"[!#$%&'*+.^`|~\w-]+/[!#$%&'*+.^`|~\w-]+( *;[\x20-\x7e]*)?", re.ASCII
)
_SLOWEST_UPLOAD: Final = 200_000
"""Bytes a second; the API is silent while an upload is on its way to it."""
_LONGEST_UPLOAD: Final = 600.0


class Files(Resource):
    """Uploads that inputs refer to; ``client.files``."""

    async def create(
        self,
        content: bytes | Path | BinaryIO | AsyncIterable[bytes],
        *,
        filename: str | None = None,
        type: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> File:
        """Upload a file of at most 100 MB, kept for 24 hours; pass the `File` in an input.

        *content* is bytes, a `Path`, a file opened for reading bytes (read from where it stands),
        or an async iterator of bytes; it is sent as a stream. *filename* (at most 255 bytes) and
        *type*, the media type, are taken from the path if not given. Never sent twice when it may
        have arrived: raises `AmbiguousCreateError` then, `ContentTooLargeError` when it is too
        large (files.create).
        """
        name = filename or _name_of(content)
        _check_filename(name)
        content_type = type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        _check_media_type(content_type)
        checked = _checked(content)
        parts = [Part("content", checked, name, content_type, _position(checked))]
        if metadata:
            encoded = msgspec.json.encode(_plain(metadata))
            parts.append(Part("metadata", encoded, content_type="application/json"))
        return await self._client.call(CREATE, body=Multipart(tuple(parts)), hold=_hold(content))

    async def get(self, file_id: str) -> File:
        """Fetch what is known of an upload; `NotFoundError` once it has expired (files.get)."""
        return await self._client.call(GET, {"file_id": file_id})

    async def delete(self, file_id: str) -> None:
        """Delete an upload; raises `NotFoundError` when there is none (files.delete)."""
        await self._client.call(DELETE, {"file_id": file_id})

    async def download(self, file_id: str, *, owner: str, expiry: int, signature: str) -> bytes:
        """Fetch the bytes of an upload with the parts of a signed URL.

        *signature* is the base64 HMAC-SHA256 of "{owner} {file_id} {expiry}" under the Files API's
        signing secret, *expiry* a Unix time (files.download).
        """
        query = DownloadFile(owner=owner, expiry=expiry, signature=signature)
        return await self._client.call(DOWNLOAD, {"file_id": file_id}, query=query)

    def list(self) -> Listing[File]:
        """Iterate over the account's uploads, in no particular order (files.list)."""
        return Listing(self._client, LIST)


def _hold(content: Content) -> float:
    if isinstance(content, bytes):
        return min(len(content) / _SLOWEST_UPLOAD, _LONGEST_UPLOAD)
    return _LONGEST_UPLOAD


def _checked(content: Content) -> Content:
    if isinstance(content, bytes | Path | AsyncIterable):
        return content
    if _is_binary(content):
        return _readable(content)
    raise InvalidArgumentError(
        f"content={shorten(content)} is a {content.__class__.__name__}; give bytes, a Path, "
        "a file opened with 'rb', or an async iterator of bytes."
    )


def _is_binary(content: object) -> bool:
    methods = ("read", "readable", "seekable", "seek", "tell")
    return all(hasattr(content, name) for name in methods) and not isinstance(
        content, io.TextIOBase
    )


def _readable(file: BinaryIO) -> BinaryIO:
    """Return *file* if it can be read, as a kind of file that aiohttp knows."""
    try:
        readable = file.readable()
    except ValueError:
        raise InvalidArgumentError(
            f"content={shorten(file)} is closed; pass it inside its 'with' block, or its Path."
        ) from None
    if not readable:
        raise InvalidArgumentError(
            f"content={shorten(file)} is open for writing only; open it with 'rb'."
        )
    # What tempfile.NamedTemporaryFile returns is a file in all but its class.
    return file if isinstance(file, io.IOBase) else cast("BinaryIO", _Lent(file))


class _Lent(io.IOBase):
    """A file of a class that aiohttp does not know, by its methods."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _plain(metadata: Mapping[str, object]) -> dict[str, object]:
    if isinstance(metadata, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        return encode_json(metadata, "metadata")
    raise InvalidArgumentError(
        f'metadata={shorten(metadata)} must be a mapping such as {{"customer": 7}}.'
    )


def _name_of(content: Content) -> str:
    if isinstance(content, Path):
        return content.name
    name = getattr(content, "name", None)
    return Path(name).name if isinstance(name, str) and Path(name).name else "file"


def _position(content: Content) -> int:
    if isinstance(content, bytes | Path | AsyncIterable):
        return 0
    return content.tell() if content.seekable() else 0


def _check_filename(name: object) -> None:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"filename={shorten(name)} must be a string.")
    if not name.isprintable():
        raise InvalidArgumentError(f"filename={shorten(name)} has a control character in it.")
    if len(name.encode()) > _LONGEST_FILENAME:
        raise InvalidArgumentError(
            f"filename={shorten(name)} is longer than {_LONGEST_FILENAME} bytes; shorten it."
        )


def _check_media_type(value: object) -> None:
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise InvalidArgumentError(
            f"type={shorten(value)} is not a media type; give one such as 'image/png'."
        )
