"""A running server with a few models of its own, and bare HTTP to it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicate_async.local import (
    ConcatenateIterator,
    InputFile,
    LocalReplicate,
    OutputFile,
    Secret,
    Settings,
    log,
)
from tests.local.wire import Wire
from tests.support.sentinel import TOKEN


class Gate:
    """Holds the model acme/gated until a test opens it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which servers make theirs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings() -> Settings:
    return Settings(stream_linger=0.05)


@pytest.fixture
async def server(gate: Gate, settings: Settings) -> AsyncIterator[LocalReplicate]:
    local = LocalReplicate(api_token=TOKEN, settings=settings)

    @local.model("acme/echo", description="Say the same again")
    def echo(text: str, times: int = 1) -> str:
        log("saying", text)
        return text * times

    @local.model("acme/gated")
    async def gated(text: str = "x") -> str:
        gate.entered.set()
        try:
            await gate.open.wait()
        except asyncio.CancelledError:
            gate.cancelled.set()
            raise
        return text

    @local.model("acme/tokens", official=True)
    def tokens(text: str) -> ConcatenateIterator[str]:
        log("reading")
        yield from text.split("|")

    @local.model("acme/draw")
    def draw(text: str) -> list[OutputFile]:
        return [OutputFile(text.encode(), name=f"out-{n}.txt") for n in range(2)]

    @local.model("acme/read")
    def read(file: InputFile, key: Secret | None = None) -> str:
        del key
        return file.data.decode()

    @local.model("acme/broken")
    def broken() -> str:
        raise RuntimeError("no luck (E1001)")

    async with local:
        yield local


@pytest.fixture
async def wire(server: LocalReplicate) -> AsyncIterator[Wire]:
    async with Wire(server) as bare:
        yield bare
