"""A run's context that records its calls, for tests of models without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio

from replicate_async.interface.types import InputFile, OutputFile
from replicate_async.local.models.files import InputFolder, describe_file
from replicate_async.local.models.function import ModelFunction
from tests.support.waiting import HANG


class RecordingContext:
    """Keeps logs, metrics and files; serves the files that it was given."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.logs = ""
        self.metrics: dict[str, float | str] = {}
        self.saved: list[OutputFile] = []
        self.canceled = False

    def log(self, text: str) -> None:
        self.logs += text if text.endswith("\n") else text + "\n"

    def metric(self, name: str, value: float | str) -> None:
        self.metrics[name] = value

    async def fetch(self, url: str, folder: InputFolder) -> InputFile:
        del folder
        return InputFile(self.files[url], *describe_file(url))

    async def save(self, content: bytes | Path, name: str, content_type: str | None) -> str:
        data = content if isinstance(content, bytes) else await anyio.Path(content).read_bytes()
        self.saved.append(OutputFile(data, name, content_type))
        return f"https://files.test/{len(self.saved)}/{name}"


async def outputs(
    function: Callable[..., object],
    input: dict[str, Any] | None = None,
    context: RecordingContext | None = None,
) -> list[Any]:
    model = ModelFunction(function)
    return [value async for value in model.predict(input or {}, context or RecordingContext())]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(HANG):
        while not condition():  # noqa: ASYNC110 - threads and models set it, which know no event
            await anyio.sleep(0.001)
