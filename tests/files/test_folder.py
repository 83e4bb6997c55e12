"""Folders, and the unfinished files in them, on systems that can do less."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicate_async import (
    FileError,
    TargetExistsError,
)
from replicate_async.files.folder import Folder
from tests.files.hosts import names_in
from tests.files.saved import inside
from tests.support.sentinel import caught

pytestmark = pytest.mark.anyio


async def test_without_hard_links_a_name_is_claimed_first(tmp_path: Path) -> None:
    class Linkless(Folder):
        def _link(self, old: str, new: str) -> None:
            raise PermissionError(1, f"no link from {old} to {new}")

    (tmp_path / "a").write_bytes(b"mine")
    folder = Linkless(tmp_path, make=False)
    part = folder.make_part("key", "")
    part.write([b"x"])
    with caught(TargetExistsError):
        folder.publish(part, "a", unique=False, overwrite=False)
    assert folder.publish(part, "a", unique=True, overwrite=False) == "a (2)"
    folder.drop(part)

    assert inside(tmp_path) == {"a": b"mine", "a (2)": b"x"}


def test_a_kept_part_is_found_and_published(tmp_path: Path) -> None:
    folder = Folder(tmp_path, make=False)
    part = folder.make_part("key", '"v"')
    part.write([b"x"])
    folder.drop(part, keep=True)
    part = folder.find_part("key") or folder.make_part("key", "")
    assert (part.validator, part.seek_end()) == ('"v"', 1)
    assert folder.publish(part, "a", unique=False, overwrite=False) == "a"
    folder.drop(part)
    with caught(TargetExistsError):
        folder.check("a", overwrite=False)

    assert inside(tmp_path) == {"a": b"x"}


def test_a_removed_part_file_is_an_error(tmp_path: Path) -> None:
    folder = Folder(tmp_path, make=False)
    part = folder.make_part("key", '"v"')
    (tmp_path / part.name).unlink()
    with pytest.raises(FileError):
        folder.publish(part, "a", unique=True, overwrite=False)
    with pytest.raises(FileError):
        part.settle(5)
    folder.drop(part)

    assert not names_in(tmp_path)


def test_part_files_without_a_valid_mark_are_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, make=False)
    part = folder.make_part("key", '"v"')
    folder.drop(part)
    stem = part.name.split(".")[1]
    for mark in ("_w", "A", "a b"):
        (tmp_path / f".{stem}.{mark}.part").write_bytes(b"x")
    assert folder.find_part("key") is None

    assert not names_in(tmp_path)
