"""Answers as the service's two halves send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from replicate_async.local.http.errors import Problem

Response: TypeAlias = web.Response

_ENCODE = msgspec.json.Encoder().encode


def django_response(value: Any, status: int = 200) -> Response:
    """Answer as Django does: plain JSON, to which the dispatcher adds `Allow`."""
    response = web.Response(status=status, body=_ENCODE(value))
    response.headers["Content-Type"] = "application/json"
    response.headers["Vary"] = "Cookie"
    return response


def edge_response(
    value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer as the edge does: JSON and a line feed."""
    return web.Response(
        status=status,
        body=_ENCODE(value) + b"\n",
        headers={"Content-Type": "application/json", **(headers or {})},
    )


def held_response(
    value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer as the edge does about files and after `Prefer: wait`: charset, but no line feed."""
    return web.Response(
        status=status,
        body=_ENCODE(value),
        headers={"Content-Type": "application/json; charset=UTF-8", **(headers or {})},
    )


def empty_response(status: int = 204, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer without a body."""
    return web.Response(status=status, headers=headers)


def text_response(text: str) -> Response:
    """Answer with plain text."""
    return web.Response(text=text, content_type="text/plain", charset="utf-8")


def problem_response(refusal: Problem) -> Response:
    """Answer with an error."""
    return web.Response(
        status=refusal.status,
        body=_ENCODE(refusal.body) + b"\n",
        headers={"Content-Type": refusal.content_type, **refusal.headers},
    )
