"""What a model's function sees of the server while it runs."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote_to_bytes

import aiohttp
from yarl import URL

from replicate_async.local.files import OUTPUTS, FileStore
from replicate_async.local.function import OutputFile
from replicate_async.local.guard import Guard, GuardedResolver
from replicate_async.local.problems import Problem
from replicate_async.local.runs import Run
from replicate_async.local.settings import Settings

OCTETS = "application/octet-stream"


class FetchError(Exception):
    """A file input that could not be read."""


class Fetcher:
    """Gets files from elsewhere, where the guard allows it."""

    def __init__(self, guard: Guard, limit: int) -> None:
        self._guard = guard
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: URL) -> bytes:
        """Return what is at *url*; follows no redirects."""
        if not self._guard.allows(url):
            raise FetchError(f"{url.host} is not a host that this server fetches files from")
        try:
            async with self.session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise FetchError(f"{url.host} answered {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_chunked(64 * 1024):
                    body += chunk
                    if len(body) > self._limit:
                        raise FetchError(f"The file at {url.host} is too large")
                return bytes(body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise FetchError(f"{url.host}: {type(error).__name__}") from error

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session for everything that the server asks of others."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self._guard), use_dns_cache=False
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=60),
            )
        return self._session

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()


class Context:
    """The run that a function is part of: its logs, its metrics, its files."""

    def __init__(self, run: Run, files: FileStore, fetcher: Fetcher, settings: Settings) -> None:
        self._run = run
        self._files = files
        self._fetcher = fetcher
        self._settings = settings

    @property
    def canceled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._run.terminal

    def log(self, text: str) -> None:
        """Add *text* to the run's logs."""
        line = text if text.endswith("\n") else text + "\n"
        self._run.log(line, on_stream=self._settings.stream_logs)

    def metric(self, name: str, value: Any) -> None:
        """Set one of the run's metrics."""
        if not self._run.terminal:
            self._run.metrics[name] = value

    async def fetch(self, url: str) -> bytes:
        """Return the bytes of a file input: a data URL, a file of this server's, or elsewhere."""
        if url.startswith("data:"):
            return data_url_bytes(url)
        parsed = _parse(url)
        if str(parsed.origin()) == self._run.base:
            return self._own(parsed.path)
        return await self._fetcher.fetch(parsed)

    def _own(self, path: str) -> bytes:
        if path.startswith(OUTPUTS) and path in self._files.deliveries:
            return self._files.deliveries[path].content
        head, _, file_id = path.rpartition("/")
        try:
            if head == "/v1/files":
                return self._files.find(file_id, self._run.account.username).content
        except Problem:
            pass
        raise FetchError(f"There is no file at {path}; it may have expired")

    async def save(self, file: OutputFile) -> str:
        """Keep an output file and return its URL."""
        name = PurePath(file.name or "output").name or "output"
        kind = file.content_type or mimetypes.guess_type(name)[0] or OCTETS
        return self.keep(file.data, name=name, content_type=kind)

    def keep(self, content: bytes, *, name: str, content_type: str) -> str:
        """Keep *content* as an output file and return its URL."""
        delivery = self._files.deliver(content, name=name, content_type=content_type)
        self._run.files.append(delivery.path)
        return f"{self._run.base}{delivery.path}"


def data_url_bytes(url: str) -> bytes:
    """Return what a data URL holds."""
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
