"""The names of aiohttp that are not public, all in one file.

Each function says what it buys. `tests/faults/test_aiohttp_private.py` fails when a release of
aiohttp drops one of the names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import aiohttp
from aiohttp.connector import Connection


def disable_retries(session: aiohttp.ClientSession) -> None:
    """Keep *session* from sending a read again when a reused connection breaks.

    `Retry` and its budget decide about repeats; an outage would get twice the traffic.
    """
    session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - aiohttp has no option for it


def pooled(
    connector: aiohttp.BaseConnector, request: aiohttp.ClientRequest, traces: list[Any]
) -> Awaitable[Connection | None]:
    """Return an open connection for *request* that is not in use, if there is one.

    Most requests find one and need not wait for a turn to connect, which is 4 % of a request.
    """
    return connector._get(request.connection_key, traces)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - see above


def loop_of(session: aiohttp.ClientSession) -> asyncio.AbstractEventLoop | None:
    """Return the event loop of *session*; the public property warns that it is deprecated."""
    return getattr(session, "_loop", None)


def share_proxy(given: aiohttp.ClientSession, session: aiohttp.ClientSession) -> None:
    """Give *session* the proxy of *given*; no public name has it."""
    for name in ("_default_proxy", "_default_proxy_auth"):
        setattr(session, name, getattr(given, name, None))


def stop_read_timer(response: aiohttp.ClientResponse) -> None:
    """Stop the timer that aiohttp sets again for each segment of a body.

    That takes longer than to read a short segment, such as a token of a stream.
    """
    if response.connection is not None and response.connection.protocol is not None:
        response.connection.protocol.read_timeout = None
        response.connection.protocol.start_timeout()


def unread(content: aiohttp.StreamReader) -> bytes:
    """Return the bytes that came before the connection broke; the public reads raise at once."""
    private: Any = content
    return b"".join(private._buffer and [private._read_nowait(-1)])  # noqa: SLF001 - see above
