"""The keys and digests of the inputs of a batch, by which a resume knows them again."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.files.inputs import (
    EncodedInput,
    FileSlot,
    canonical_input,
    field_of,
    is_record,
)
from replicate_async.files.output import FileOutput
from replicate_async.files.source_of import source_of
from replicate_async.files.values import reason_of, scalar
from replicate_async.runs.batch.journal import Entry
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import File

Key: TypeAlias = str | Callable[[ItemInput], str | int] | None
"""What names an input of a batch: a field of it, or a function of it."""

Match: TypeAlias = Literal["input", "key"]
"""What identifies an item in a journal: its input, or its key alone."""

LONGEST_KEY: Final = 500
LARGEST_HASHED: Final = 16 * 2**20
"""Bytes of a file that are read for its digest; a larger one goes by path, size and time."""

_BUCKETS: Final = 4096


class KeyAssigner:
    """Assigns each input its key: the user's own, or a digest of the model and the canonical input.

    Equal inputs get the same digest, and all but the first a number. Unless *exact*, as without a
    journal, there are no digests, and the place of an input is its key.
    """

    def __init__(self, model: str, key: Key, *, exact: bool) -> None:
        self._model = model
        self._key = key
        self._exact = exact
        self._seen = DigestSet()
        self._repeated: dict[bytes, int] = {}
        self._next = 0

    async def assign(self, given: object) -> tuple[Entry, InvalidArgumentError | None]:
        """Return a new entry for *given*, and why it cannot be sent, None if it can.

        Raises `InvalidArgumentError` if it cannot have a key.
        """
        index = self._next
        self._next += 1
        if not is_record(given):
            raise InvalidArgumentError(
                f"input {index} is {shorten(given)}, a {type(given).__name__}; each must be a "
                'mapping such as {"prompt": "..."}, or a msgspec Struct.'
            )
        item = cast("ItemInput", given)
        own = None if self._key is None else self._own_key(item, index)
        if own is not None and not _is_text(own):
            fault = InvalidArgumentError(f"input {index} has the key {own!r}, which is no text.")
            return Entry(key=f"invalid-{index}", digest="", index=index), fault
        try:
            found = await self._digest(item, index)
        except InvalidArgumentError as fault:
            return Entry(key=own or f"invalid-{index}", digest="", index=index), fault
        key = own or (self._numbered(found) if found else str(index))
        return Entry(key=key, digest=found.hex()[:32], index=index), None

    async def _digest(self, item: ItemInput, index: int) -> bytes:
        """Return the digest of an input, or nothing unless digests are *exact*."""
        if not self._exact:
            return b""
        with _explained(f"input {index} cannot be read"):
            encoded = canonical_input(item)
            if encoded.slots:
                return await asyncio.to_thread(digest, self._model, encoded)
            return digest(self._model, encoded)

    def _numbered(self, found: bytes) -> str:
        if self._seen.add(found):
            return found.hex()[:32]
        count = self._repeated[found] = self._repeated.get(found, 1) + 1
        return f"{found.hex()[:32]}-{count}"

    def _own_key(self, item: ItemInput, index: int) -> str:
        value = scalar(self._raw_key(item, index))
        if value is None and isinstance(self._key, str):
            raise InvalidArgumentError(
                f"input {index} has no value in the field {shorten(self._key)}; key= must name a "
                "field that every input has."
            )
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise InvalidArgumentError(
                f"input {index} has the key {shorten(value)}; key= must name a field, or be a "
                "function, that gives every input a string or a whole number of its own."
            )
        key = str(value)
        if len(key) > LONGEST_KEY:
            raise InvalidArgumentError(
                f"input {index} has a key of {len(key)} characters; the most is {LONGEST_KEY}."
            )
        if not self._seen.add(hashlib.sha256(key.encode(errors="replace")).digest()):
            raise InvalidArgumentError(
                f"input {index} has the key {shorten(key)}, which another has too; give each its "
                "own, or leave key= out."
            )
        return key

    def _raw_key(self, item: ItemInput, index: int) -> object:
        if not callable(self._key):
            return field_of(item, cast("str", self._key))
        with _explained(f"key= failed for input {index}"):
            return self._key(item)


@contextmanager
def _explained(problem: str) -> Generator[None]:
    """Raise an error of the caller's own objects as `InvalidArgumentError`."""
    try:
        yield
    except ReplicateError:
        raise
    except Exception as error:
        raise InvalidArgumentError(f"{problem}: {reason_of(error)}.") from error


def _is_text(key: str) -> bool:
    """Whether *key* can be stored and shown: half a surrogate pair cannot."""
    return key.encode(errors="ignore").decode() == key


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


class DigestSet:
    """A set of digests in 12 bytes each, if there are many; a `set` takes 70 to 100.

    It keeps 64 bits of each, in many short sorted arrays. Two of a billion digests agree by chance
    once in 37 times; in a batch of a million, once in 37 million batches.
    """

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}

    def add(self, digest: bytes) -> bool:
        """Add *digest* (8 bytes or more of a hash); return whether it is new."""
        value = int.from_bytes(digest[:8], "little")
        bucket = self._buckets.setdefault(value % _BUCKETS, array("Q"))
        place = bisect_left(bucket, value)
        if place < len(bucket) and bucket[place] == value:
            return False
        bucket.insert(place, value)
        return True
