"""Part files: the beginning of a download, and how it becomes the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replicate_async import FileError, TargetExistsError
from replicate_async.files.part_file import PartFile, check_target
from tests.files.hosts import names_in
from tests.files.saved import inside
from tests.support.sentinel import caught


def publish(part: PartFile, *, size: int = 1, unique: bool = False) -> Path:
    return part.publish("a", size=size, unique=unique, overwrite=False)


def test_a_kept_part_is_found_and_published(tmp_path: Path) -> None:
    part = PartFile.create(tmp_path, "key", '"v"')
    part.write([b"x"])
    part.close(keep=True)
    found = PartFile.resume(tmp_path, "key")
    assert found is not None
    assert (found.validator, found.seek_end()) == ('"v"', 1)
    assert publish(found) == tmp_path / "a"
    found.close(keep=False)
    with caught(TargetExistsError):
        check_target(tmp_path / "a", overwrite=False)

    assert inside(tmp_path) == {"a": b"x"}


def test_a_removed_part_file_is_an_error(tmp_path: Path) -> None:
    part = PartFile.create(tmp_path, "key", '"v"')
    with pytest.raises(FileError, match="changed"):
        publish(part, size=5, unique=True)
    [left] = tmp_path.iterdir()
    left.unlink()
    with pytest.raises(FileError, match="removed"):
        publish(part, size=0, unique=True)
    part.close(keep=False)

    assert not names_in(tmp_path)


def test_part_files_without_a_valid_mark_are_removed(tmp_path: Path) -> None:
    part = PartFile.create(tmp_path, "key", '"v"')
    [left] = tmp_path.iterdir()
    part.close(keep=False)
    stem = left.name.split(".")[1]
    for mark in ("_w", "A", "a b"):
        (tmp_path / f".{stem}.{mark}.part").write_bytes(b"x")
    assert PartFile.resume(tmp_path, "key") is None

    assert not names_in(tmp_path)


def test_saves_of_one_file_in_many_threads_never_take_each_others_part(tmp_path: Path) -> None:
    def save(number: int) -> str:
        validator = ("", '"v"')[number % 2]
        part = PartFile.resume(tmp_path, "key") or PartFile.create(tmp_path, "key", validator)
        part.seek_end()
        part.write([b"x"])
        try:
            return publish(part, unique=True).name
        finally:
            part.close(keep=False)

    with ThreadPoolExecutor(16) as threads:
        names = list(threads.map(save, range(300)))

    assert len(set(names)) == 300
    assert set(inside(tmp_path).values()) == {b"x"}
    assert len(names_in(tmp_path)) == 300
