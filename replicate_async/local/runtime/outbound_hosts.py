"""The hosts that webhooks and file inputs may reach: clients choose them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

ANYWHERE = "*"


class OutboundHosts:
    """The hosts that may be reached; their addresses are checked after DNS."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    def allows(self, url: URL) -> bool:
        """Return whether *url* may be fetched; plain http only from a host in the list."""
        host = (url.host or "").lower()
        if not host or url.scheme not in {"http", "https"}:
            return False
        if host in self._hosts:
            return True
        if ANYWHERE not in self._hosts or url.scheme != "https":
            return False
        address = _address(host)
        return address is None or address.is_global

    def allows_address(self, host: str, address: str) -> bool:
        """Return whether *host* may be reached at *address*."""
        found = _address(address)
        # A private address needs its host in the list, for a public name may resolve to one.
        return found is not None and (found.is_global or host.lower() in self._hosts)


class OutboundResolver(AbstractResolver):
    """Resolves hosts to the addresses that may be reached."""

    def __init__(self, hosts: OutboundHosts) -> None:
        self._hosts = hosts
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host* that may be reached."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [entry for entry in found if self._hosts.allows_address(host, entry["host"])]
        if not allowed:
            raise OSError(f"{host} has no address that this server may reach")
        return allowed

    async def close(self) -> None:
        """Close the resolver below."""
        await self._resolver.close()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
