"""A long batch takes bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "memory.py"


@pytest.mark.slow
@pytest.mark.parametrize(("items", "journaled"), [(50_000, False), (10_000, True)])
def test_items_pass_through(tmp_path: Path, items: int, journaled: bool) -> None:
    arguments = [str(items), *([str(tmp_path / "batch.db")] if journaled else [])]

    said = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], check=True, capture_output=True, text=True
    ).stdout

    measured = json.loads(said)
    assert measured["items"] == items
    assert measured["grown_kb"] < 8192
