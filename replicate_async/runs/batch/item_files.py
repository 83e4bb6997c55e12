"""Saving the output files of items; no file is replaced."""

from __future__ import annotations

import asyncio
import filecmp
from itertools import count
from pathlib import Path

from replicate_async.files.names import item_name, numbered, split
from replicate_async.files.save_all import save_all


async def save_item(output: object, folder: Path, key: str) -> list[Path]:
    """Save the files in the *output* of the item *key* in *folder*, and return where they are.

    A file that is there already stays. When it has the same bytes, it is the item's own of an
    earlier run; else the new one gets a number: ``name (2).png``.
    """
    names: dict[int, str] = {}

    def name(number: int, given: str) -> str:
        names[number] = item_name(key, number, split(given)[1])
        return names[number]

    paths = await save_all(output, folder, name=name)
    return await asyncio.to_thread(
        lambda: [_own(path, names[number]) for number, path in enumerate(paths, 1)]
    )


def _own(path: Path, wanted: str) -> Path:
    """Return the first file named like *wanted* that has the bytes of *path*, and keep only it."""
    for number in count(1):
        earlier = path.with_name(numbered(wanted, number))
        if earlier == path:
            break
        if _same_bytes(earlier, path):
            path.unlink(missing_ok=True)
            return earlier
    return path


def _same_bytes(one: Path, other: Path) -> bool:
    filecmp.clear_cache()  # it knows files by size and time
    try:
        is_other = not one.is_symlink() and not one.samefile(other)
        return is_other and filecmp.cmp(one, other, shallow=False)
    except OSError:  # not there any more, or not readable: it is not known to be the same
        return False
