"""The run as a backend gets it, on this server."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from yarl import URL

from replicate_async.files.names import safe_name
from replicate_async.interface.types import InputFile
from replicate_async.local.models.files import InputFolder, describe_file
from replicate_async.local.runtime.fetcher import Fetcher, FetchError
from replicate_async.local.settings import Settings
from replicate_async.local.store.blobs import Blob
from replicate_async.local.store.files import OUTPUTS, FileStore, url_of
from replicate_async.local.store.records import RunRecord
from replicate_async.schemas import without_surrogates

OCTETS: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+( *;[\x20-\x7e]*)?", re.ASCII)


class ServerRunHandle:
    """Writes logs and metrics to a record, fetches its input files and keeps its output files."""

    def __init__(
        self, run: RunRecord, files: FileStore, fetcher: Fetcher, settings: Settings
    ) -> None:
        self._run = run
        self._files = files
        self._fetcher = fetcher
        self._settings = settings

    @property
    def canceled(self) -> bool:
        """Whether the run has ended."""
        return self._run.terminal

    def log(self, text: str) -> None:
        """Add *text* to the run's logs."""
        line = text if text.endswith("\n") else text + "\n"
        self._run.log(line, on_stream=self._settings.stream_logs)

    def metric(self, name: str, value: Any) -> None:
        """Set one of the run's metrics."""
        if not self._run.terminal:
            self._run.metrics[without_surrogates(str(name))] = _plain_metric(value)

    async def fetch(self, url: str, folder: InputFolder) -> InputFile:
        """Return an input file: a data URL, a file of this server, or one of another host.

        A large one is written into *folder*.
        """
        name, content_type = describe_file(url)
        if url.startswith("data:"):
            return InputFile(data_url_bytes(url), name, content_type)
        parsed = _parse(url)
        if str(parsed.origin()) == self._run.base:
            return await self._own(parsed.path, folder)
        async with self._files.receive() as incoming:
            said = await self._fetcher.fetch(parsed, incoming)
            content = await incoming.finish()
        try:
            return await _given(content, name, said or content_type, folder)
        finally:
            content.discard()

    async def _own(self, path: str, folder: InputFolder) -> InputFile:
        try:
            if path.startswith(OUTPUTS):
                made = self._files.outputs[path]
                return await _given(made.content, made.name, made.content_type, folder)
            head, _, file_id = path.rpartition("/")
            if head == "/v1/files":
                stored = self._files.find(file_id, self._run.account.username)
                if stored is not None:
                    name = safe_name(stored.name)
                    return await _given(stored.content, name, stored.content_type, folder)
        except (KeyError, FileNotFoundError):
            pass
        raise FetchError(f"There is no file at {path}; it may have expired")

    async def save(self, content: bytes | Path, name: str, content_type: str | None) -> str:
        """Keep an output file and return its URL."""
        kept = await self._files.keep(content)
        kind = content_type or mimetypes.guess_type(name)[0] or OCTETS
        # It becomes a header, and a model may return any text.
        kind = kind if _MEDIA_TYPE.fullmatch(kind) else OCTETS
        delivery = self._files.add_output(kept, name=name, content_type=kind)
        self._run.files.append(delivery.path)
        return url_of(delivery, self._run.base)


async def _given(content: Blob, name: str, kind: str | None, folder: InputFolder) -> InputFile:
    """Return a copy of *content* for one run, which a model may change."""
    if content.path is None:
        return InputFile(await content.read(), name, kind)
    path = await folder.place(name)
    await content.copy_to(path)
    return InputFile(path, name, kind)


def _plain_metric(value: Any) -> float | str:
    """Return a plain number or text; NumPy's types are subclasses of Python's."""
    if isinstance(value, bool | int):
        return int(value) if type(value) is not bool else value
    if isinstance(value, float):
        return float(value)
    return without_surrogates(str(value))


def data_url_bytes(url: str) -> bytes:
    """Return the bytes in a data URL; raises `FetchError` if it is invalid."""
    head, comma, data = url.removeprefix("data:").partition(",")
    if not comma:
        raise FetchError("A data URL has a comma before its data")
    if not head.endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(unquote_to_bytes(data), validate=True)
    except binascii.Error:
        raise FetchError("The data URL is not valid base64") from None


def _parse(url: str) -> URL:
    try:
        parsed = URL(url)
        if parsed.absolute and parsed.host:
            return parsed
    except ValueError:
        pass
    raise FetchError("A file input is a data URL or an absolute http(s) URL")
