"""Sending the files of an input: small ones as data URLs, large ones as uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from anyio import create_task_group

from replicate_async.core.tasks import run_within
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.files.inputs import (
    LARGEST_DATA_URL,
    LARGEST_FORCED_DATA_URL,
    LARGEST_UPLOAD,
    LONGEST_FILENAME,
    MAX_IN_DATA_URLS,
    EncodedInput,
    FileSlot,
    data_url,
)
from replicate_async.files.media import describe
from replicate_async.files.names import shortened
from replicate_async.files.source_of import source_of
from replicate_async.files.sources import FileHead, Source
from replicate_async.schemas import File

CONCURRENCY: Final = 4
"""Uploads of one input at a time."""
DELETE_WITHIN: Final = 5.0
"""Seconds that deleting uploads may take."""

_INLINE_LIMIT: Final = {"auto": LARGEST_DATA_URL, "data-url": LARGEST_FORCED_DATA_URL, "upload": -1}


class Uploader(Protocol):
    """The part of ``client.files`` that sending files uses."""

    async def send(self, source: Source, *, filename: str, type: str) -> File:
        """Upload a file."""
        ...

    async def delete(self, file_id: str) -> None:
        """Delete an upload."""
        ...


class Upload(NamedTuple):
    """A file to be uploaded, whose head was read."""

    slot: FileSlot
    source: Source
    filename: str
    type: str


async def send_files(encoded: EncodedInput, uploader: Uploader) -> list[File]:
    """Send the files of *encoded*, put their URLs into it, and return the uploads.

    The head of every file is read before the first upload. When one upload fails, the others are
    cancelled, and the completed ones are deleted.
    """
    sources: list[Source] = []
    sent: list[File] = []
    try:
        uploads = await _prepare(encoded, sources)
        await _upload(uploads, uploader, sent)
    except BaseException:
        await delete_quietly(uploader, sent)
        raise
    finally:
        for source in sources:
            await source.aclose()
    encoded.fill()
    return sent


async def _prepare(encoded: EncodedInput, sources: list[Source]) -> list[Upload]:
    """Read the heads of the files; small files become data URLs, the others are returned."""
    uploads: list[Upload] = []
    for slot in encoded.slots:
        source = source_of(slot.value, slot.place)
        sources.append(source)
        head = await source.read_head(_INLINE_LIMIT[encoded.encoding])
        name, detected = describe(source.name, head.data)
        kind = source.type or detected
        if _fits(encoded, source, head):
            encoded.bytes_in_data_urls += len(head.data)
            slot.url = data_url(head.data, kind)
            continue
        source.max_size = LARGEST_UPLOAD
        source.check_size()
        uploads.append(Upload(slot, source, sendable_name(name), kind))
    return uploads


def _fits(encoded: EncodedInput, source: Source, head: FileHead) -> bool:
    together = encoded.bytes_in_data_urls + len(head.data)
    fits = head.is_complete and together <= MAX_IN_DATA_URLS
    if fits or encoded.encoding != "data-url":
        return fits
    problem = (
        f"makes {together:,} bytes in data URLs; the API takes {MAX_IN_DATA_URLS:,} in an input"
        if head.is_complete
        else f"holds more than the {LARGEST_FORCED_DATA_URL:,} bytes that a data URL may have"
    )
    raise InvalidArgumentError(
        f'{source.label} {problem}. Leave out file_encoding="data-url" to have it uploaded.'
    )


async def _upload(uploads: Sequence[Upload], uploader: Uploader, sent: list[File]) -> None:
    turn = asyncio.Semaphore(CONCURRENCY)

    async def send(upload: Upload) -> None:
        async with turn:
            file = await uploader.send(upload.source, filename=upload.filename, type=upload.type)
        upload.slot.url = file.urls.get
        sent.append(file)

    try:
        # asyncio's group leaves the caller's task counted as cancelled after an error, before 3.13.
        async with create_task_group() as group:
            for upload in uploads:
                group.start_soon(send, upload)
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
    else:
        return
    raise first


def sendable_name(name: str) -> str:
    """Return *name* as the API takes it: printable, and at most 255 bytes of UTF-8."""
    clean = "".join(c if c.isprintable() else "_" for c in name)
    return shortened(clean, longest=LONGEST_FILENAME)


async def delete_quietly(uploader: Uploader, files: Sequence[File]) -> None:
    """Delete *files* within `DELETE_WITHIN` seconds; a cancellation is raised at the end.

    Failures are ignored: an upload expires after a day.
    """
    if files:
        with suppress(TimeoutError):
            await run_within(DELETE_WITHIN, _delete(uploader, files))


async def _delete(uploader: Uploader, files: Sequence[File]) -> None:
    turn = asyncio.Semaphore(CONCURRENCY)

    async def delete(file: File) -> None:
        async with turn:
            with suppress(ReplicateError):
                await uploader.delete(file.id)

    await asyncio.gather(*(delete(file) for file in files))
