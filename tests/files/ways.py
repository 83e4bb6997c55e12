"""The ways to fetch a file, each of which keeps the same promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from replicate_async import FileOutput
from tests.files.hosts import names_in

Way = Callable[[FileOutput, Path], Awaitable[bytes]]


async def read(file: FileOutput, folder: Path) -> bytes:
    return await file.read()


async def iterate(file: FileOutput, folder: Path) -> bytes:
    return b"".join([chunk async for chunk in file])


async def save(file: FileOutput, folder: Path) -> bytes:
    saved = await file.save(folder)
    data = saved.read_bytes()
    saved.unlink()
    assert not names_in(folder)
    return data


WAYS = pytest.mark.parametrize("way", [read, iterate, save])
