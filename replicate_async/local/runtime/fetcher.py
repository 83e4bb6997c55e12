"""Fetches input files from other hosts."""

from __future__ import annotations

import aiohttp
from yarl import URL

from replicate_async.local.runtime.outbound_hosts import OutboundHosts, OutboundResolver
from replicate_async.local.store.blobs import BlobWriter


class FetchError(Exception):
    """A file input that could not be read."""


class Fetcher:
    """Fetches files from the hosts that are allowed."""

    def __init__(self, hosts: OutboundHosts, limit: int) -> None:
        self._hosts = hosts
        self._limit = limit
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: URL, into: BlobWriter) -> str | None:
        """Write what is at *url* to *into* and return its media type; follows no redirects."""
        if not self._hosts.allows(url):
            raise FetchError(f"{url.host} is not a host that this server fetches files from")
        try:
            async with self.session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise FetchError(f"{url.host} answered {response.status}")
                async for chunk in response.content.iter_any():
                    await into.write(chunk)
                    if into.size > self._limit:
                        raise FetchError(f"The file at {url.host} is too large")
                return response.headers.get("Content-Type")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise FetchError(f"{url.host}: {type(error).__name__}") from error

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session for all requests to other hosts."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=OutboundResolver(self._hosts), use_dns_cache=False
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=60),
            )
        return self._session

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
