"""Trouble on request: what a test asks the server to do wrong, and how often.

Nothing happens unless it was added, and every answer that was touched says so in the header
`replicate-local-fault`.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import web

from replicate_async.local.http.errors import PROBLEM_JSON, throttled
from replicate_async.local.http.file_response import ContentPayload

MARK = "replicate-local-fault"
EVERYTHING = "*"
_BUFFER: Final = 1024 * 1024
_PATIENCE: Final = 0.001


@dataclass
class Fault:
    """One kind of trouble with an operation; `left` says how often it still happens."""

    operation: str
    left: int
    status: int | None = None
    body: bytes | None = None
    content_type: str = PROBLEM_JSON
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    retry_after: int | None = None
    delay: float = 0.0
    pause: float = 0.0
    cut_after: int | None = None
    cut_after_events: int | None = None
    omit_done: bool = False
    reset: bool = False
    perform: bool = True
    happened: int = 0

    @property
    def mark(self) -> dict[str, str]:
        """The header that says that an answer was touched."""
        return {MARK: self.operation}

    @property
    def replaces(self) -> bool:
        """Whether it stands in the place of the operation's own answer."""
        return self.status is not None

    def answer(self) -> web.Response:
        """Return the answer that stands in the place of the operation's."""
        if self.status == 429 and self.body is None:
            refusal = throttled(self.retry_after or 1)
            response = refusal.response()
        else:
            body = self.body
            if body is None:
                detail = {"detail": "Fault asked for by a test", "status": self.status}
                body = msgspec.json.encode(detail) + b"\n"
            response = web.Response(
                status=self.status or 500, body=body, headers={"Content-Type": self.content_type}
            )
            if self.retry_after is not None:
                response.headers["Retry-After"] = str(self.retry_after)
        response.headers.update(self.headers)
        response.headers.update(self.mark)
        return response


class Faults:
    """The trouble that a server was asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        operation: str,
        *,
        times: int = 1,
        status: int | None = None,
        body: bytes | str | None = None,
        content_type: str = PROBLEM_JSON,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        delay: float = 0.0,
        pause: float = 0.0,
        cut_after: int | None = None,
        cut_after_events: int | None = None,
        omit_done: bool = False,
        reset: bool = False,
        perform: bool | None = None,
    ) -> Fault:
        """Make trouble with the next *times* requests of *operation*; faults queue up in order.

        *operation* is an operationId such as "predictions.get", "streams", "delivery" (of output
        files) or "*". *status* answers with that status instead, with *body*, *content_type*,
        *headers* and *retry_after*. *delay* waits so many seconds before the answer, *pause*
        between its 64 byte pieces (or a stream's events). *cut_after* closes the connection after
        so many bytes of the answer, headers included (of a stream: of its events),
        *cut_after_events* after so many events, *omit_done* before the `done`; with *reset* the
        connection is reset rather than closed. *perform* says whether the operation is carried
        out before its answer is replaced or cut: it is when cut, and is not when replaced, unless
        said otherwise.
        """
        fault = Fault(
            operation=operation,
            left=times,
            status=status,
            body=body.encode() if isinstance(body, str) else body,
            content_type=content_type,
            headers=headers or {},
            retry_after=retry_after,
            delay=delay,
            pause=pause,
            cut_after=0 if reset and cut_after is None and cut_after_events is None else cut_after,
            cut_after_events=cut_after_events,
            omit_done=omit_done,
            reset=reset,
            perform=status is None if perform is None else perform,
        )
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all trouble that has not happened yet."""
        self._faults.clear()

    def take(self, operation: str) -> Fault | None:
        """Return the trouble that is due for a request of *operation*, and count it."""
        for fault in self._faults:
            if fault.operation in {operation, EVERYTHING}:
                fault.left -= 1
                fault.happened += 1
                if fault.left <= 0:
                    self._faults.remove(fault)
                return fault
        return None


async def deliver(request: web.Request, response: web.StreamResponse, fault: Fault) -> bool:
    """Send *response* by hand, slowly or not to its end; False if it may be sent as usual."""
    if (fault.cut_after is None and not fault.pause) or not isinstance(response, web.Response):
        return False
    transport = request.transport
    if transport is None:
        return True
    left = math.inf if fault.cut_after is None else fault.cut_after
    async with aclosing(_raw(request, response, 64 if fault.pause else None)) as pieces:
        async for piece in pieces:
            transport.write(piece if len(piece) <= left else piece[: int(left)])
            left -= len(piece)
            if left <= 0 or transport.is_closing():
                break
            await asyncio.sleep(fault.pause)
            # A transport tells nobody but its protocol that it has room again.
            while transport.get_write_buffer_size() > _BUFFER and not transport.is_closing():  # noqa: ASYNC110 - as above
                await asyncio.sleep(_PATIENCE)
    hang_up(request, reset=fault.reset)
    return True


def hang_up(request: web.Request, *, reset: bool) -> None:
    """Close the connection of *request*, after what was written, or by a reset."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()


async def _raw(
    request: web.Request, response: web.Response, size: int | None
) -> AsyncGenerator[bytes]:
    """Yield the bytes of *response* as they would travel, in pieces of at most *size*."""
    body = response.body
    payload = body if isinstance(body, ContentPayload) else None
    data = body if isinstance(body, bytes) else b""
    length = response.headers.get("Content-Length") or (payload.size if payload else len(data))
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    headers = {**response.headers, "Content-Length": str(length), "Connection": "close"}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    rest = b"" if request.method == "HEAD" else data
    for piece in _cut("\r\n".join([*lines, "", ""]).encode() + rest, size):
        yield piece
    if payload is not None:
        async with aclosing(payload.chunks()) as chunks:
            async for chunk in chunks:
                for piece in _cut(chunk, size):
                    yield piece


def _cut(data: bytes, size: int | None) -> list[bytes]:
    step = size or max(1, len(data))
    return [data[start : start + step] for start in range(0, len(data), step)]
