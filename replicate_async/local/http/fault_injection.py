"""Fault injection: answers that are replaced, slowed, cut or reset, as a `Fault` says."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import msgspec
from aiohttp import web

from replicate_async.local.faults import Fault
from replicate_async.local.http.errors import Problem, throttled
from replicate_async.local.http.file_response import BlobPayload
from replicate_async.local.http.responses import problem_response

_BUFFER: Final = 1024 * 1024
_POLL: Final = 0.001


def fault_response(fault: Fault) -> web.Response:
    """Return the answer that replaces the operation's."""
    if fault.status == 429 and fault.body is None:
        response = problem_response(throttled(fault.retry_after or 1))
    else:
        body = fault.body
        if body is None:
            detail = {"detail": "Fault asked for by a test", "status": fault.status}
            body = msgspec.json.encode(detail) + b"\n"
        response = web.Response(
            status=fault.status or 500, body=body, headers={"Content-Type": fault.content_type}
        )
        if fault.retry_after is not None:
            response.headers["Retry-After"] = str(fault.retry_after)
    response.headers.update(fault.headers)
    response.headers.update(fault.mark)
    return response


async def answer_with_fault(
    request: web.Request,
    perform: Callable[[web.Request], Awaitable[web.Response]],
    fault: Fault,
) -> web.StreamResponse:
    """Answer *request* as *fault* says; *perform* is the operation."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    response: web.Response | None = None
    if fault.perform:
        try:
            response = await perform(request)
        except Problem as refusal:
            response = problem_response(refusal)
    if fault.replaces or response is None:
        response = fault_response(fault)
    response.headers.update(fault.mark)
    response.headers.update(fault.headers)
    await _send(request, response, fault)
    return response


async def _send(request: web.Request, response: web.Response, fault: Fault) -> None:
    """Send *response* by hand if it is slowed or cut."""
    if fault.cut_after is None and not fault.pause:
        return
    transport = request.transport
    if transport is None:
        return
    left = math.inf if fault.cut_after is None else fault.cut_after
    async with aclosing(_raw(request, response, 64 if fault.pause else None)) as pieces:
        async for piece in pieces:
            transport.write(piece if len(piece) <= left else piece[: int(left)])
            left -= len(piece)
            if left <= 0 or transport.is_closing():
                break
            await asyncio.sleep(fault.pause)
            # Only the protocol is told when a transport has room again.
            while transport.get_write_buffer_size() > _BUFFER and not transport.is_closing():  # noqa: ASYNC110 - as above
                await asyncio.sleep(_POLL)
    hang_up(request, reset=fault.reset)


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
    """Yield the bytes of *response*, head included, in pieces of at most *size*."""
    body = response.body
    payload = body if isinstance(body, BlobPayload) else None
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
