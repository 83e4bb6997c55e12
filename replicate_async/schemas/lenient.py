"""A second look at an answer in which a detail is not what it should be."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

# Nothing that a caller acts on: rather None than no answer at all. An odd timestamp of one item
# would otherwise cost a whole page, and an odd example every listing with that model in it.
_DETAILS: Final = frozenset(
    {
        "completed_at",
        "created_at",
        "deadline",
        "default_example",
        "expires_at",
        "latest_version",
        "output",  # of a training; a prediction's can be anything
        "started_at",
    }
)
_PATH: Final = re.compile(r" - at `\$([^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
_MOST: Final = 500


def decode_leniently(body: bytes, type: type[T]) -> T:
    """Decode the JSON *body* as a *type*, with None for timestamps and examples that are odd.

    Meant for a body that did not decode as it is: it takes several times as long. Raises
    `msgspec.ValidationError` when anything else is wrong with it, or too much.
    """
    value: Any = msgspec.json.decode(body)
    for _ in range(_MOST):
        try:
            return msgspec.convert(value, type)
        except msgspec.ValidationError as error:
            if not _drop_detail(value, str(error)):
                raise
    return msgspec.convert(value, type)


def _drop_detail(value: Any, problem: str) -> bool:
    """Replace the first detail on the path that *problem* names by None, if there is one."""
    found = _PATH.search(problem)
    for name, index in _STEP.findall(found[1] if found else ""):
        if name in _DETAILS and value[name] is not None:
            value[name] = None
            return True
        if not name and not index.isdecimal():
            return False
        value = value[name or int(index)]
    return False
