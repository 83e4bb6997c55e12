"""The input files of one run."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from replicate_async.files.names import safe_name
from replicate_async.files.threads import run_in_thread
from replicate_async.local.temp_folder import TempFolder


class InputFolder:
    """A run's folder for input files, removed after the run."""

    def __init__(self) -> None:
        self._disk = TempFolder()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await run_in_thread(self._disk.close)

    async def place(self, name: str) -> Path:
        """Return a path that ends in *name*, in a folder of its own."""

        def place() -> Path:
            path = self._disk.place() / name
            path.parent.mkdir()
            return path

        return await asyncio.to_thread(place)

    async def write(self, name: str, data: bytes) -> Path:
        """Write *data* to such a path."""
        path = await self.place(name)
        await asyncio.to_thread(path.write_bytes, data)
        return path


def describe_file(url: str) -> tuple[str, str | None]:
    """Return a safe file name and the media type that *url* suggests."""
    if url.startswith("data:"):
        content_type = url[len("data:") :].partition(",")[0].partition(";")[0] or "text/plain"
        return f"input{mimetypes.guess_extension(content_type) or ''}", content_type
    name = safe_name(unquote(urlsplit(url).path) or "input")
    return name, mimetypes.guess_type(name)[0]
