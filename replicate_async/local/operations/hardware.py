"""The hardware operation."""

from __future__ import annotations

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.responses import Response, django_response
from replicate_async.local.store.records import HARDWARE


async def list_hardware(_context: RequestContext) -> Response:
    """Answer hardware.list, a bare array."""
    return django_response([{"sku": sku, "name": name} for sku, name in HARDWARE.items()])


HANDLERS: dict[str, Handler] = {
    "hardware.list": list_hardware,
}
