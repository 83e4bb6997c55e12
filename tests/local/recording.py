"""A run's context that keeps what a model does, for tests of models without a server."""

from __future__ import annotations

from collections.abc import Mapping

from replicate_async.local.annotations import OutputFile


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

    async def fetch(self, url: str) -> bytes:
        return self.files[url]

    async def save(self, file: OutputFile) -> str:
        self.saved.append(file)
        return f"https://files.test/{len(self.saved)}/{file.name}"
