"""Files: uploads that inputs refer to."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.core.multipart import Part
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import FileContent, source_of
from replicate_async.files.inputs import LARGEST_UPLOAD, encode_json, is_record
from replicate_async.files.media import describe
from replicate_async.files.uploads import LONGEST_FILENAME, check_size, sendable_name
from replicate_async.files.values import Record
from replicate_async.resources._base import Resource
from replicate_async.resources._paginator import Paginator
from replicate_async.resources._uploads import upload
from replicate_async.resources.endpoints import FILES_DELETE, FILES_DOWNLOAD, FILES_GET, FILES_LIST
from replicate_async.schemas import DownloadFile, File

_MEDIA_TYPE: Final = re.compile(
    r"[!#$%&'*+.^`|~\w-]+/[!#$%&'*+.^`|~\w-]+( *;[\x20-\x7e]*)?", re.ASCII
)


class Files(Resource):
    """Uploads that inputs refer to; ``client.files``."""

    async def create(
        self,
        content: FileContent,
        *,
        filename: str | None = None,
        type: str | None = None,
        metadata: Record | None = None,
        repeat: bool = False,
        max_size: int | None = LARGEST_UPLOAD,
    ) -> File:
        """Upload a file of at most 100 MB, kept for 24 hours; pass the `File` in an input.

        *content* is bytes, a path, a file opened for reading bytes (read from where it stands, and
        left standing there), an async iterator of bytes, an upload of a web framework or an image
        of Pillow; it is sent as a stream. *filename* (at
        most 255 bytes) is taken from the path if not given, *type*, the media type, from the name
        or the first bytes. Never sent twice when it may have arrived, unless *repeat* says that a
        second copy does no harm: raises `AmbiguousCreateError` then. More than *max_size* bytes
        are refused before anything is sent; None leaves that to the server, which raises
        `ContentTooLargeError` (files.create).
        """
        if filename:
            _check_filename(filename)
        if type:
            _check_media_type(type)
        parts = _metadata(metadata)
        source = source_of(content, "content")
        source.max_size = max_size
        try:
            head = await source.read_head(0)
            check_size(source)
            name, told = describe(filename or source.name, head.data)
            kind = type or source.type or told
            part = Part("content", source, filename or sendable_name(name), kind)
            return await upload(self._context, (part, *parts), source.size, repeat=repeat)
        finally:
            await source.aclose()

    async def get(self, file_id: str) -> File:
        """Fetch what is known of an upload; `NotFoundError` once it has expired (files.get)."""
        return await self._context.call(FILES_GET, {"file_id": file_id})

    async def delete(self, file_id: str) -> None:
        """Delete an upload; raises `NotFoundError` when there is none (files.delete)."""
        await self._context.call(FILES_DELETE, {"file_id": file_id})

    async def download(self, file_id: str, *, owner: str, expiry: int, signature: str) -> bytes:
        """Fetch the bytes of an upload with the parts of a signed URL.

        *signature* is the base64 HMAC-SHA256 of "{owner} {file_id} {expiry}" under the Files API's
        signing secret, *expiry* a Unix time (files.download).
        """
        query = DownloadFile(owner=owner, expiry=expiry, signature=signature)
        return await self._context.call(FILES_DOWNLOAD, {"file_id": file_id}, query=query)

    def list(self) -> Paginator[File]:
        """Iterate over the account's uploads, in no particular order (files.list)."""
        return Paginator(self._context, FILES_LIST)


def _metadata(metadata: Record | None) -> tuple[Part, ...]:
    if not metadata:
        return ()
    if not is_record(metadata):
        raise InvalidArgumentError(
            f'metadata={shorten(metadata)} must be a mapping such as {{"customer": 7}}.'
        )
    encoded = msgspec.json.encode(encode_json(metadata, "metadata"))
    return (Part("metadata", encoded, content_type="application/json"),)


def _check_filename(name: object) -> None:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"filename={shorten(name)} must be a string.")
    if not name.isprintable():
        raise InvalidArgumentError(f"filename={shorten(name)} has a control character in it.")
    if len(name.encode()) > LONGEST_FILENAME:
        raise InvalidArgumentError(
            f"filename={shorten(name)} is longer than {LONGEST_FILENAME} bytes; shorten it."
        )


def _check_media_type(value: object) -> None:
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise InvalidArgumentError(
            f"type={shorten(value)} is not a media type; give one such as 'image/png'."
        )
