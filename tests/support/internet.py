"""An internet of its own: names that lead to addresses, and servers at these addresses.

What is replaced is the event loop's way to the network, below every HTTP library, so that a
connection to a public address can be seen, and need not leave the machine.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any


class Internet(asyncio.SelectorEventLoop):
    """An event loop for which *names* lead to addresses, and all of port 443 is on loopback.

    `reached` lists the addresses that were connected to, as they would have been outside.
    """

    def __init__(self, names: Mapping[str, Sequence[str]], port: int) -> None:
        super().__init__()
        self.names = {name: list(addresses) for name, addresses in names.items()}
        self.port = port
        self.looked_up: list[str] = []
        self.reached: list[str] = []

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if host not in self.names:
            return await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        self.looked_up.append(host)
        found = self.names[host]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in found
        ]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        if address[1] != 443:
            return await super().sock_connect(sock, address)
        self.reached.append(address[0])
        return await super().sock_connect(sock, ("127.0.0.1", self.port))
