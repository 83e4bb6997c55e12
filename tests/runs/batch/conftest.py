"""Fixtures: the path of a journal, and an open journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicate_async.runs.batch.journal import Journal
from tests.runs.batch.journals import HEADER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    async with await Journal.open(path, HEADER) as opened:
        yield opened
