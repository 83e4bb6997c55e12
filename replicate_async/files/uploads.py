"""The files of an input, sent: as data URLs where they are small, as uploads where they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from replicate_async.core.tasks import run_within
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.files.contents import source_of
from replicate_async.files.inputs import (
    LARGEST_DATA_URL,
    LARGEST_FORCED_DATA_URL,
    LARGEST_UPLOAD,
    MOST_IN_DATA_URLS,
    EncodedInput,
    FileSlot,
    data_url,
)
from replicate_async.files.media import describe
from replicate_async.files.sources import FileHead, Source, too_large
from replicate_async.schemas import File

AT_ONCE: Final = 4
"""Uploads of one input that are on their way at a time."""
DELETE_WITHIN: Final = 5.0
"""Seconds that deleting uploads may take."""
LONGEST_FILENAME: Final = 255
"""Bytes of UTF-8."""

_MOST: Final = {"auto": LARGEST_DATA_URL, "data-url": LARGEST_FORCED_DATA_URL, "upload": -1}


class Uploader(Protocol):
    """What sending files needs of ``client.files``."""

    async def send(self, source: Source, *, filename: str, type: str) -> File:
        """Upload what *source* gives."""
        ...

    async def delete(self, file_id: str) -> None:
        """Delete an upload."""
        ...


class Upload(NamedTuple):
    """A file that is to be uploaded, looked into already."""

    slot: FileSlot
    source: Source
    filename: str
    type: str


async def send_files(draft: EncodedInput, uploader: Uploader) -> list[File]:
    """Send the files of *draft*, put their URLs into it, and return the uploads that were made.

    Every file is looked at before the first is uploaded. When one upload fails, the others are
    cancelled, and those that were made are deleted.
    """
    sources: list[Source] = []
    sent: list[File] = []
    try:
        uploads = await _prepare(draft, sources)
        await _upload(uploads, uploader, sent)
    except BaseException:
        await delete_quietly(uploader, sent)
        raise
    finally:
        for source in sources:
            await source.aclose()
    draft.fill()
    return sent


async def _prepare(draft: EncodedInput, sources: list[Source]) -> list[Upload]:
    """Look into the files; those that are small enough become data URLs."""
    uploads: list[Upload] = []
    for slot, place in draft.places():
        source = source_of(slot.value, place)
        sources.append(source)
        start = await source.start(_MOST[draft.encoding])
        name, told = describe(source.name, start.data)
        kind = source.type or told
        if _fits(draft, source, start):
            draft.bytes_in_data_urls += len(start.data)
            slot.url = data_url(start.data, kind)
            continue
        source.most = LARGEST_UPLOAD
        check_size(source)
        uploads.append(Upload(slot, source, sendable_name(name), kind))
    return uploads


def _fits(draft: EncodedInput, source: Source, start: FileHead) -> bool:
    together = draft.bytes_in_data_urls + len(start.data)
    fits = start.whole and together <= MOST_IN_DATA_URLS
    if fits or draft.encoding != "data-url":
        return fits
    problem = (
        f"makes {together:,} bytes in data URLs; the API takes {MOST_IN_DATA_URLS:,} in an input"
        if start.whole
        else f"holds more than the {LARGEST_FORCED_DATA_URL:,} bytes that a data URL may have"
    )
    raise InvalidArgumentError(
        f'{source.what} {problem}. Leave out file_encoding="data-url" to have it uploaded.'
    )


def check_size(source: Source) -> None:
    """Raise `InvalidArgumentError` if *source* is known to be larger than it may be."""
    if source.most is not None and source.size is not None and source.size > source.most:
        raise too_large(source.what, source.size, source.most)


async def _upload(uploads: Sequence[Upload], uploader: Uploader, sent: list[File]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def send(upload: Upload) -> None:
        async with turn:
            file = await uploader.send(upload.source, filename=upload.filename, type=upload.type)
        upload.slot.url = file.urls.get
        sent.append(file)

    if len(uploads) < 2:
        for upload in uploads:
            await send(upload)
        return
    try:
        async with asyncio.TaskGroup() as group:
            for upload in uploads:
                group.create_task(send(upload))
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
    else:
        return
    raise first


def sendable_name(name: str) -> str:
    """Return *name* as the API takes it: printable, and of 255 bytes at most.

    What it was derived from may be called anything, and the name of an upload says little.
    """
    clean = "".join(c if c.isprintable() else "_" for c in name)
    if len(clean.encode()) <= LONGEST_FILENAME:
        return clean
    stem, dot, suffix = clean.rpartition(".")
    tail = f"{dot}{suffix}" if stem and len(suffix.encode()) <= 16 else ""
    kept = clean.encode()[: LONGEST_FILENAME - len(tail.encode())]
    return kept.decode(errors="ignore") + tail


async def delete_quietly(uploader: Uploader, files: Sequence[File]) -> None:
    """Delete *files*, within `DELETE_WITHIN` seconds and whatever cancels this task.

    Failures are swallowed: uploads that stay expire after a day. A cancel of this task that comes
    meanwhile is raised at the end.
    """
    if files:
        with suppress(TimeoutError):
            await run_within(DELETE_WITHIN, _delete(uploader, files))


async def _delete(uploader: Uploader, files: Sequence[File]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def delete(file: File) -> None:
        async with turn:
            with suppress(ReplicateError):
                await uploader.delete(file.id)

    await asyncio.gather(*(delete(file) for file in files))
