"""The digest of an input, by which a resume knows it again."""

from __future__ import annotations

import hashlib
from typing import Final, cast

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import EncodedInput, FileSlot
from replicate_async.files.output import FileOutput
from replicate_async.files.source_of import source_of
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.schemas import File

LARGEST_HASHED: Final = 16 * 2**20
"""Bytes of a file that are read for its digest; a larger one goes by path, size and time."""


def digest(model: str, given: EncodedInput) -> bytes:
    """Return the SHA-256 of *model* and of what `canonical_input` made of an input.

    Files count by content, those above 16 MiB by path, size and time of change: call it in a thread
    if there are any. Raises `InvalidArgumentError` for what has no digest.
    """
    values: object = given.values
    if given.slots:
        prints = {slot: _fingerprint(slot) for slot in given.slots}
        values = map_leaves(values, lambda leaf: prints.get(cast("FileSlot", leaf), leaf))
    try:
        canonical = msgspec.json.encode(values, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the input cannot be sent as JSON: {error}.") from None
    return hashlib.sha256(b"%s\0%s" % (model.encode(errors="replace"), canonical)).digest()


def _fingerprint(slot: FileSlot) -> object:
    """Return plain values in place of a file, for a digest."""
    file = slot.value
    if isinstance(file, File):
        return file.urls.get
    if isinstance(file, FileOutput):  # of another run
        return file.url
    return source_of(file, slot.place).fingerprint(LARGEST_HASHED)
