"""Inputs of a batch with ``match="key"``, whose URLs and files may differ at each run.

Their digest leaves URLs and files out. It tells whether anything else has changed since a create
was sent: then the prediction of that create cannot be recognised in the list.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Final, TypeGuard

import msgspec

from replicate_async.runs.batch.identity import A_FILE, fields, normalize
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.known_file import KnownFile
from replicate_async.runs.batch.results import ItemInput

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)


def with_changeable_files(normalized: object) -> object:
    """Return a normalized input in which URLs and files match those that an earlier run sent."""
    return map_leaves(normalized, _changeable)


def _changeable(leaf: object) -> object:
    if isinstance(leaf, KnownFile):
        return replace(leaf, may_change=True)
    return KnownFile(url=leaf, may_change=True) if _is_url(leaf) else leaf


def _is_url(leaf: object) -> TypeGuard[str]:
    return isinstance(leaf, str) and _URL.match(leaf) is not None


def digest_without_urls(model: str, given: ItemInput) -> str:
    """Return the digest of *model* and an input without its URLs and files; reads no file."""
    without = map_leaves(fields(given), lambda leaf: A_FILE if _is_url(leaf) else leaf)
    normalized = normalize(without)
    canonical = msgspec.json.encode(normalized, order="deterministic", enc_hook=repr)
    found = hashlib.sha256(b"%s\0key\0%s" % (model.encode(errors="replace"), canonical))
    return found.hexdigest()[:32]
