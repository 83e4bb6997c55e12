"""The digest of an input, by which a resume knows it again."""

from __future__ import annotations

import hashlib
from typing import Final, cast

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import FilePlaceholder
from replicate_async.files.inputs import FileSlot, canonical_input
from replicate_async.files.output import FileOutput
from replicate_async.files.source_of import source_of
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import File

LARGEST_HASHED: Final = 16 * 2**20
"""Bytes of a file that are read for its digest; a larger one goes by path, size and time."""

_CHUNK: Final = 2**20

A_FILE: Final = FilePlaceholder()


def digest(model: str, given: ItemInput, *, read: bool) -> bytes | None:
    """Return the SHA-256 of *model* and the canonical JSON of an input, as it is sent.

    Files count by content, those above 16 MiB by path, size and time of change. When a file would
    have to be read and *read* is false, returns None: call again in a thread. Raises
    `InvalidArgumentError` for what has no digest.
    """
    draft = canonical_input(given)
    if not read and any(_takes_long(slot.value) for slot in draft.slots):
        return None
    values: object = draft.values
    if draft.slots:
        prints = {slot: _fingerprint(slot) for slot in draft.slots}
        values = map_leaves(values, lambda leaf: prints.get(cast("FileSlot", leaf), leaf))
    try:
        canonical = msgspec.json.encode(values, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the input cannot be sent as JSON: {error}.") from None
    return hashlib.sha256(b"%s\0%s" % (model.encode(errors="replace"), canonical)).digest()


def _takes_long(file: object) -> bool:
    """Whether the digest of *file* has to be taken in a thread."""
    if isinstance(file, bytes | bytearray | memoryview):
        return memoryview(cast("bytes", file)).nbytes > _CHUNK
    return not isinstance(file, File | FileOutput)


def _fingerprint(slot: FileSlot) -> object:
    """Return plain values in place of a file, for a digest."""
    file = slot.value
    if isinstance(file, File):
        return file.urls.get
    if isinstance(file, FileOutput):  # of another run
        return file.url
    return source_of(file, slot.place).fingerprint(LARGEST_HASHED)
