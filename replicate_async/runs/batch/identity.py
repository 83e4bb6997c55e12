"""What makes an input the one it is: its digest, and whether it is that of a prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, cast

import msgspec

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import FilePlaceholder, source_of
from replicate_async.files.inputs import FileSlot, canonical_input
from replicate_async.files.output import FileOutput
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import File

LARGEST_HASHED: Final = 16 * 2**20
"""Bytes of a file that are read for its digest; a larger one goes by path, size and time."""

_CHUNK: Final = 2**20
_WHOLE: Final = 2**53  # up to here a float and an integer say the same number


A_FILE: Final = FilePlaceholder()


def fields(given: ItemInput) -> dict[str, object]:
    """Return the inputs by name as they are sent, without those that are None.

    `A_FILE` stands for each file. Raises `InvalidArgumentError` for what cannot be sent.
    """
    draft = canonical_input(given)
    if not draft.slots:
        return draft.values
    return cast("dict[str, object]", _with_files(draft.values, lambda _: A_FILE))


def digest(model: str, given: ItemInput, *, read: bool) -> bytes | None:
    """Return the SHA-256 of *model* and the canonical JSON of an input, as it is sent.

    Files count by content, those above 16 MiB by path, size and time of change. When a file would
    have to be read and *read* is false, returns None: call again in a thread. Raises
    `InvalidArgumentError` for what has no digest.
    """
    draft = canonical_input(given)
    values: object = draft.values
    if draft.slots:
        if not read and any(_takes_long(slot.value) for slot in draft.slots):
            return None
        prints = {slot: _fingerprint(slot, slot.place) for slot in draft.slots}
        values = _with_files(values, prints.__getitem__)
    try:
        canonical = msgspec.json.encode(values, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the input cannot be sent as JSON: {error}.") from None
    return hashlib.sha256(b"%s\0%s" % (model.encode(errors="replace"), canonical)).digest()


def _takes_long(file: object) -> bool:
    """Whether the digest of *file* is no work for the event loop."""
    if isinstance(file, bytes | bytearray | memoryview):
        return memoryview(cast("bytes", file)).nbytes > _CHUNK
    return not isinstance(file, File | FileOutput)


def _fingerprint(slot: FileSlot, place: str) -> object:
    """Return plain values that stand for a file in a digest."""
    value = slot.value
    if isinstance(value, File):
        return value.urls.get
    if isinstance(value, FileOutput):  # of another run
        return value.url
    return source_of(value, place).fingerprint(LARGEST_HASHED)


def _with_files(value: object, stand_in: Callable[[FileSlot], object]) -> object:
    """Return *value* with what stands in for each file in place of its slot."""
    if isinstance(value, FileSlot):
        return stand_in(value)
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {name: _with_files(item, stand_in) for name, item in items}
    if isinstance(value, list):
        return [_with_files(item, stand_in) for item in cast("list[object]", value)]
    return value


def likeness(given: object) -> object:
    """Return plain values to compare with a prediction's input, with `A_FILE` for each file."""
    if given is None or given is A_FILE or isinstance(given, int | float | str):
        return _likeness_of_scalar(given)
    if isinstance(given, Mapping):
        items = cast("Mapping[object, object]", given).items()
        return {str(name): likeness(value) for name, value in items}
    if isinstance(given, list | tuple):
        return [likeness(value) for value in cast("list[object]", given)]
    return likeness(fields({"value": given})["value"])


def _likeness_of_scalar(given: object) -> object:
    if isinstance(given, str):
        return A_FILE if given.startswith("data:") else given
    if isinstance(given, float) and given.is_integer() and abs(given) < _WHOLE:
        return int(given)
    return given


def has_file(likened: object) -> bool:
    """Whether there is a file somewhere in what `likeness` returned."""
    if isinstance(likened, dict):
        return any(has_file(value) for value in cast("dict[str, object]", likened).values())
    if isinstance(likened, list):
        return any(has_file(value) for value in cast("list[object]", likened))
    return likened is A_FILE


def agree(ours: object, theirs: object) -> bool:
    """Whether two likenesses may be of one input: any string may stand for a file of ours."""
    if ours is A_FILE:
        return theirs is A_FILE or isinstance(theirs, str)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        left, right = cast("dict[str, object]", ours), cast("dict[str, object]", theirs)
        return left.keys() == right.keys() and all(agree(left[k], right[k]) for k in left)
    if isinstance(ours, list) and isinstance(theirs, list):
        mine, others = cast("list[object]", ours), cast("list[object]", theirs)
        return len(mine) == len(others) and all(map(agree, mine, others))
    # True == 1 in Python, and not in JSON.
    return isinstance(ours, bool) is isinstance(theirs, bool) and ours == theirs
