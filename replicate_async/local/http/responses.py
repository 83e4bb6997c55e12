"""Answers in the manner of the service's two halves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from replicate_async.local.http.context import Call

Handler = Callable[[Call], Awaitable[web.Response]]

_ENCODE = msgspec.json.Encoder().encode


def django_answer(value: Any, status: int = 200) -> web.Response:
    """Answer as Django does: plain JSON, to which the dispatcher adds `Allow`."""
    response = web.Response(status=status, body=_ENCODE(value))
    response.headers["Content-Type"] = "application/json"
    response.headers["Vary"] = "Cookie"
    return response


def edge_answer(
    value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer as the edge does: JSON and a line feed."""
    return web.Response(
        status=status,
        body=_ENCODE(value) + b"\n",
        headers={"Content-Type": "application/json", **(headers or {})},
    )


def held_answer(
    value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer as the edge does about files and after `Prefer: wait`: charset, but no line feed."""
    return web.Response(
        status=status,
        body=_ENCODE(value),
        headers={"Content-Type": "application/json; charset=UTF-8", **(headers or {})},
    )


def empty_answer(status: int = 204) -> web.Response:
    """Answer without a body."""
    return web.Response(status=status)
