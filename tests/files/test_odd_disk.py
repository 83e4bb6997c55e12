"""File systems without some operations: saving there is no error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def lines(folder: Path, call: str, error: str) -> list[str]:
    program = [sys.executable, "-m", "tests.files.odd_disk", str(folder), call, error]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("error", ["EINVAL", "ENOTSUP", "EOPNOTSUPP"])
def test_files_and_journals_are_written_where_folders_cannot_be_synced(
    tmp_path: Path, error: str
) -> None:
    assert lines(tmp_path, "fsync", error) == ["picture picture.png", "written"]


def test_a_failing_disk_is_an_error(tmp_path: Path) -> None:
    saved, journal = lines(tmp_path, "fsync", "EIO")
    assert saved.startswith("FileError: ")
    assert "Input/output error" in saved
    assert "Input/output error" in journal


def test_a_file_is_saved_where_its_part_file_cannot_be_removed(tmp_path: Path) -> None:
    assert lines(tmp_path, "unlink", "EPERM") == ["picture picture.png", "written"]


@pytest.mark.parametrize("error", ["EPERM", "EOPNOTSUPP"])
def test_a_file_is_saved_where_there_are_no_hard_links(tmp_path: Path, error: str) -> None:
    assert lines(tmp_path, "link", error) == ["picture picture.png", "written"]


def test_no_file_is_replaced_where_there_are_no_hard_links(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"mine")

    saved, _ = lines(tmp_path, "link", "EPERM")

    assert saved.startswith("TargetExistsError: ")
    assert (tmp_path / "picture.png").read_bytes() == b"mine"
