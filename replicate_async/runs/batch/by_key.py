"""Inputs of a batch with ``match="key"``, whose URLs and files may differ at each run.

Their digest leaves URLs and files out. It tells whether anything else has changed since a create
was sent: then the prediction of that create cannot be recognised in the list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, cast

import msgspec

from replicate_async.runs.batch.identity import fields, normalize
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


def with_changeable_files(normalized: object) -> object:
    """Return a normalized input in which URLs and files match those that an earlier run sent."""
    if isinstance(normalized, KnownFile):
        return changeable(normalized)
    if isinstance(normalized, str):
        return KnownFile(url=normalized, may_change=True) if _URL.match(normalized) else normalized
    if isinstance(normalized, dict):
        named = cast("dict[str, object]", normalized)
        return {name: with_changeable_files(value) for name, value in named.items()}
    if isinstance(normalized, list):
        return [with_changeable_files(value) for value in cast("list[object]", normalized)]
    return normalized


def digest_without_urls(model: str, given: ItemInput) -> str:
    """Return the digest of *model* and an input `without_urls`; reads no file."""
    normalized = normalize(without_urls(given))
    canonical = msgspec.json.encode(normalized, order="deterministic", enc_hook=repr)
    found = hashlib.sha256(b"%s\0key\0%s" % (model.encode(errors="replace"), canonical))
    return found.hexdigest()[:32]
