"""An input as it is sent, with one value in place of its files."""

from __future__ import annotations

from typing import Any, Final

from replicate_async.files.contents import FilePlaceholder
from replicate_async.files.inputs import FileSlot, canonical_input
from replicate_async.runs.batch.json_tree import map_leaves
from replicate_async.runs.batch.keys import digest
from replicate_async.runs.batch.results import ItemInput

A_FILE: Final = FilePlaceholder()


def digest_of(given: ItemInput, model: str = "m") -> bytes:
    """Return the digest of an input of *model*."""
    return digest(model, canonical_input(given))


def fields(given: ItemInput) -> Any:
    """Return the inputs by name as they are sent; `A_FILE` stands for each file."""
    sent = canonical_input(given).values
    return map_leaves(sent, lambda leaf: A_FILE if isinstance(leaf, FileSlot) else leaf)
