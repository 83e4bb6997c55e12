"""Uploading files, which ``client.files`` and the inputs of runs do in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replicate_async.context import ClientContext
from replicate_async.core.multipart import Multipart, Part
from replicate_async.resources.endpoints import (
    FILES_CREATE,
    FILES_CREATE_REPEATABLE,
    FILES_DELETE,
)
from replicate_async.schemas import File

if TYPE_CHECKING:
    from replicate_async.files.sources import Source

_SLOWEST_UPLOAD: Final = 200_000
"""Bytes a second; the API is silent while an upload is on its way to it."""
_LONGEST_UPLOAD: Final = 600.0


class Uploads:
    """The requests that upload the files of an input, and delete them."""

    __slots__ = ("_context",)

    def __init__(self, context: ClientContext) -> None:
        self._context = context

    async def send(self, source: Source, *, filename: str, type: str) -> File:
        """Upload the bytes of *source*, whose beginning was read to tell its type."""
        part = Part("content", source, filename, type)
        return await upload(self._context, (part,), source.size)

    async def delete(self, file_id: str) -> None:
        """Delete an upload."""
        await self._context.call(FILES_DELETE, {"file_id": file_id})


async def upload(
    context: ClientContext, parts: tuple[Part, ...], size: int | None, *, repeat: bool = False
) -> File:
    """Upload *parts*, of *size* bytes if that is known; *repeat* allows to send them again."""
    hold = _LONGEST_UPLOAD if size is None else min(size / _SLOWEST_UPLOAD, _LONGEST_UPLOAD)
    endpoint = FILES_CREATE_REPEATABLE if repeat else FILES_CREATE
    return await context.call(endpoint, body=Multipart(parts), hold=hold)
