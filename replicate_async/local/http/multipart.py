"""The form of an upload, read as it arrives; its file goes to disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from replicate_async.local.http.errors import JSON, Problem, problem
from replicate_async.local.store.blobs import BlobWriter
from replicate_async.schemas import without_surrogates

_FIELD_LIMIT: Final = 64 * 1024
_MOST_PARTS: Final = 100
_CHUNK: Final = 64 * 1024


@dataclass
class UploadForm:
    """The fields of a form, and what it says about its file."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    """The fields ``filename``, ``type`` and ``metadata``, as far as they are there."""
    filename: str = ""
    """The name in the part with the file."""
    content_type: str = ""
    complete: bool = False
    """Whether there was a file."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The field ``metadata``, an object; raises the 400 `Problem`."""
        text = self.fields.get("metadata", "")
        if not text:
            return {}
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            raise problem(400, "The metadata must be a JSON object") from None


async def read_form(request: web.Request, incoming: BlobWriter, limit: int) -> UploadForm:
    """Read the form, its file into *incoming*; raises `Problem` if it is invalid.

    A body that says it is larger than *limit* allows is refused before any of it is read.
    """
    if not request.content_type.lower().startswith("multipart/"):
        raise problem(415, "Upload files as multipart/form-data")
    if (request.content_length or 0) > limit + _MOST_PARTS * _FIELD_LIMIT:
        raise _too_large(limit)
    form = UploadForm()
    parts = 0
    try:
        async for part in await request.multipart():
            parts += 1
            if parts > _MOST_PARTS:
                raise problem(400, "The form has too many parts")
            if isinstance(part, MultipartReader):
                raise problem(400, "The form has a part that is a form itself")
            if isinstance(part, BodyPartReader):
                await _read_part(part, form, incoming, limit)
    except (ValueError, AssertionError, web.RequestPayloadError) as error:
        raise problem(400, f"The form is malformed: {error}") from None
    except HttpProcessingError:
        raise problem(400, "The form is malformed: a part has an invalid header") from None
    return form


async def _read_part(
    part: BodyPartReader, form: UploadForm, incoming: BlobWriter, limit: int
) -> None:
    if part.name == "content":
        await _read_file(part, form, incoming, limit)
        return
    value = bytearray()
    while chunk := await part.read_chunk(_CHUNK):
        value += chunk
        if len(value) > _FIELD_LIMIT:
            raise problem(400, "A field of the form is too large")
    if part.name in {"filename", "type", "metadata"}:
        form.fields[part.name] = value.decode("utf-8", "replace")


async def _read_file(
    part: BodyPartReader, form: UploadForm, incoming: BlobWriter, limit: int
) -> None:
    if form.complete:
        raise problem(400, "The form has two files in parts named content")
    while chunk := await part.read_chunk(_CHUNK):
        await incoming.write(chunk)
        if incoming.size >= limit:
            raise _too_large(limit)
    form.filename = without_surrogates(part.filename or "")
    form.content_type = without_surrogates(part.headers.get("Content-Type", ""))
    form.complete = True


def _too_large(limit: int) -> Problem:
    detail = f"Files must be less than {limit // 1_000_000}MB in size"
    return Problem(413, {"detail": detail}, content_type=JSON)
