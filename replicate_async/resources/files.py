"""Files, the uploads for inputs."""

from __future__ import annotations

import re
import sys
from typing import Final

import msgspec

from replicate_async.arguments import check_count, check_flags
from replicate_async.core.endpoint import shorten
from replicate_async.core.multipart import Part
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import FileContent
from replicate_async.files.inputs import (
    LARGEST_UPLOAD,
    LONGEST_FILENAME,
    encode_json,
    is_record,
)
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
    """Uploads for inputs; ``client.files``."""

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
        """Upload a file of at most 100 MB, kept for 24 hours (files.create).

        Pass the returned `File` in an input.

        Example::

            file = await client.files.create(Path("cat.png"))
            text = await client.run("owner/captioner", {"image": file}, type=str)

        Args:
            content: Bytes, a path, a file opened for reading bytes (read from its position, which
                stays), an async iterator of bytes, an output file, an upload of a web framework or
                a Pillow image.
            filename: The name, at most 255 bytes; by default that of the path.
            type: The media type; by default by the name or the first bytes.
            metadata: A mapping that is kept with the file.
            repeat: Whether the upload may be sent again after an ambiguous failure; a second copy
                may exist then.
            max_size: The most bytes, 100 MB by default; larger files are refused before anything is
                sent. None leaves that to the API.

        Raises:
            AmbiguousCreateError: The file may exist; without *repeat* it is never sent twice.
            InvalidArgumentError: The content cannot be read, or is larger than *max_size*.
            ContentTooLargeError: The API refuses the size.
        """
        from replicate_async.files.media import describe  # noqa: PLC0415 - for files only
        from replicate_async.files.source_of import source_of  # noqa: PLC0415 - for files only
        from replicate_async.files.uploads import sendable_name  # noqa: PLC0415 - for files only

        check_flags(repeat=repeat)
        check_count("max_size", max_size, 0, sys.maxsize)
        if filename:
            _check_filename(filename)
        if type:
            _check_media_type(type)
        parts = _metadata(metadata)
        source = source_of(content, "content")
        source.max_size = max_size
        try:
            head = await source.read_head(0)
            source.check_size()
            name, told = describe(filename or source.name, head.data)
            kind = type or source.type or told
            part = Part("content", source, filename or sendable_name(name), kind)
            return await upload(self._context, (part, *parts), source.size, repeat=repeat)
        finally:
            await source.aclose()

    async def get(self, file_id: str) -> File:
        """Fetch what the API knows about an upload (files.get).

        Args:
            file_id: The id of the upload.

        Raises:
            NotFoundError: The upload is unknown, or has expired.
        """
        return await self._context.call(FILES_GET, {"file_id": file_id})

    async def delete(self, file_id: str) -> None:
        """Delete an upload (files.delete).

        Args:
            file_id: The id of the upload.

        Raises:
            NotFoundError: The upload is unknown, or has expired.
        """
        await self._context.call(FILES_DELETE, {"file_id": file_id})

    async def download(self, file_id: str, *, owner: str, expiry: int, signature: str) -> bytes:
        """Fetch the bytes of an upload with the parts of a signed URL (files.download).

        Args:
            file_id: The id of the upload.
            owner: The account that uploaded it.
            expiry: When the signature expires, in Unix time.
            signature: The base64 HMAC-SHA256 of "{owner} {file_id} {expiry}" under the signing
                secret of the Files API.

        Raises:
            NotFoundError: The upload is unknown, or has expired.
        """
        query = DownloadFile(owner=owner, expiry=expiry, signature=signature)
        return await self._context.call(FILES_DOWNLOAD, {"file_id": file_id}, query=query)

    def list(self) -> Paginator[File]:
        """Iterate over the uploads of the account, in no particular order (files.list)."""
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
