"""What makes an input the one it is: its digest, and whether it is that of a prediction."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import File

LARGEST_HASHED: Final = 16 * 2**20
"""Bytes of a file that are read for its digest; a larger one goes by path, size and time."""

_HIDDEN: Final = re.compile(r"redacted|\A\*+\Z", re.IGNORECASE)
"""What the API may show in place of a secret."""
_CHUNK: Final = 2**20
_WHOLE: Final = 2**53  # up to here a float and an integer say the same number


class FileInput:
    """Stands for a file in an input: what the API shows in its place cannot be foretold."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<a file>"


A_FILE: Final = FileInput()


class _NeedsReadingError(Exception):
    """A digest that has to read a file, which is no work for the event loop."""


def fields(given: ItemInput) -> dict[str, object]:
    """Return the inputs by name, without those that are None, as they are sent."""
    if isinstance(given, msgspec.Struct):
        named = zip(given.__struct_encode_fields__, given.__struct_fields__, strict=True)
        return {
            encoded: value for encoded, name in named if (value := getattr(given, name)) is not None
        }
    return {name: value for name, value in given.items() if value is not None}


def digest(model: str, given: ItemInput, *, read: bool) -> bytes | None:
    """Return the SHA-256 of *model* and the canonical JSON of an input.

    Files count by content, those above 16 MiB by path, size and time of change. When a file would
    have to be read and *read* is false, returns None: call again in a thread. Raises
    `InvalidArgumentError` for what has no digest.
    """
    hook = _read if read else _refuse
    try:
        canonical = msgspec.json.encode(fields(given), enc_hook=hook, order="deterministic")
    except _NeedsReadingError:
        return None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the input cannot be sent as JSON: {error}.") from None
    except OSError as error:
        reason = error.strerror or error
        raise InvalidArgumentError(f"{error.filename or 'a file'}: {reason}.") from None
    return hashlib.sha256(b"%s\0%s" % (model.encode(errors="replace"), canonical)).digest()


def _refuse(value: object) -> object:
    if isinstance(value, os.PathLike) or hasattr(value, "read"):
        raise _NeedsReadingError
    return _converted(value)


def _read(value: object) -> object:
    if isinstance(value, os.PathLike):
        return _path_digest(Path(cast("os.PathLike[str]", value)))
    if hasattr(value, "read"):
        return _open_file_digest(value)
    return _converted(value)


def _converted(value: object) -> object:
    as_list: Callable[[], object] | None = getattr(value, "tolist", None)
    if as_list is not None:  # numpy and its like
        return as_list()
    url = getattr(value, "url", None)
    if isinstance(url, str):  # an output file of another run
        return url
    raise TypeError(f"a value of type {type(value).__name__} has no digest; pass plain values")


def _path_digest(path: Path) -> list[object]:
    size = path.stat().st_size
    if size > LARGEST_HASHED:
        return ["file", str(path.resolve()), size, path.stat().st_mtime_ns]
    return ["file", hashlib.sha256(path.read_bytes()).hexdigest()]


def _open_file_digest(file: object) -> list[object]:
    read, seek, tell = (getattr(file, name, None) for name in ("read", "seek", "tell"))
    if read is None or seek is None or tell is None:
        raise TypeError(f"{shorten(file)} can be read only once; pass a path or bytes, or key=")
    found, start = hashlib.sha256(), tell()
    while piece := read(_CHUNK):
        found.update(piece.encode() if isinstance(piece, str) else piece)
    seek(start)
    return ["file", found.hexdigest()]


def likeness(given: object) -> object:
    """Return plain values to compare with a prediction's input, with `A_FILE` for each file."""
    if given is None or isinstance(given, int | float | str):
        return _likeness_of_scalar(given)
    if isinstance(given, Mapping):
        items = cast("Mapping[object, object]", given).items()
        return {str(name): likeness(value) for name, value in items}
    if isinstance(given, list | tuple | AbstractSet):
        return [likeness(value) for value in cast("list[object]", given)]
    if (
        isinstance(given, bytes | bytearray | os.PathLike | File)
        or hasattr(given, "read")
        or isinstance(getattr(given, "url", None), str)
    ):
        return A_FILE
    return likeness(msgspec.to_builtins(given, enc_hook=_converted))


def _likeness_of_scalar(given: float | str | None) -> object:
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


def could_agree(ours: object, theirs: object) -> bool:
    """Whether *theirs* may be our input after the API changed it: added defaults, hid secrets."""
    if isinstance(theirs, str) and _HIDDEN.search(theirs):
        return True
    left, right = _named(ours), _named(theirs)
    if left is None or right is None:
        return agree(ours, theirs)
    return all(name in right and could_agree(left[name], right[name]) for name in left)


def _named(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None
