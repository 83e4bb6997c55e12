"""What is compared of an input that goes by its key alone.

URLs that are signed again, and files, differ at each run. An input without them tells whether
anything else has changed since a create was sent: then a prediction in the list cannot be
recognised as the one that the create made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, cast

import msgspec

from replicate_async.runs.batch.identity import fields, likeness
from replicate_async.runs.batch.known_file import KnownFile, changeable
from replicate_async.runs.batch.results import ItemInput

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)
_ANY_FILE: Final = b""
"""Stands for a URL in the digest."""


def without_urls(given: ItemInput) -> dict[str, object]:
    """Return the fields of an input with a file in place of every URL."""
    return {name: _without_urls(value) for name, value in fields(given).items()}


def _without_urls(value: object) -> object:
    if isinstance(value, str):
        return _ANY_FILE if _URL.match(value) else value
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {name: _without_urls(each) for name, each in items}
    if isinstance(value, list | tuple):
        return [_without_urls(each) for each in cast("list[object]", value)]
    return value


def with_changeable_files(likened: object) -> object:
    """Return a likeness whose URLs and files may be others than an earlier run has sent."""
    if isinstance(likened, KnownFile):
        return changeable(likened)
    if isinstance(likened, str):
        return KnownFile(url=likened, may_change=True) if _URL.match(likened) else likened
    if isinstance(likened, dict):
        named = cast("dict[str, object]", likened)
        return {name: with_changeable_files(value) for name, value in named.items()}
    if isinstance(likened, list):
        return [with_changeable_files(value) for value in cast("list[object]", likened)]
    return likened


def digest_without_urls(model: str, given: ItemInput) -> str:
    """Return the digest of *model* and what `without_urls` leaves of an input; reads no file."""
    like = likeness(without_urls(given))
    canonical = msgspec.json.encode(like, order="deterministic", enc_hook=repr)
    found = hashlib.sha256(b"%s\0key\0%s" % (model.encode(errors="replace"), canonical))
    return found.hexdigest()[:32]
