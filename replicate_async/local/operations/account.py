"""What belongs to the account or to everybody: account, hardware, collections, webhook secret."""

from __future__ import annotations

from aiohttp import web

from replicate_async.local.http.context import Call
from replicate_async.local.http.errors import not_found
from replicate_async.local.http.responses import Handler, django_answer
from replicate_async.local.store.store import HARDWARE


async def get_account(call: Call) -> web.Response:
    """Answer account.get."""
    return django_answer(call.backend.views.account(call.account))


async def list_hardware(_call: Call) -> web.Response:
    """Answer hardware.list, a bare array."""
    return django_answer([{"sku": sku, "name": name} for sku, name in HARDWARE.items()])


async def list_collections(call: Call) -> web.Response:
    """Answer collections.list, which the service sends as one page."""
    results = [
        {"name": item.name, "slug": item.slug, "description": item.description}
        for item in call.backend.state.collections.values()
    ]
    return django_answer({"next": None, "previous": None, "results": results})


async def get_collection(call: Call) -> web.Response:
    """Answer collections.get."""
    collection = call.backend.state.collections.get(call.path["collection_slug"])
    if collection is None:
        raise not_found()
    return django_answer(call.backend.views.collection(collection))


async def get_webhook_secret(call: Call) -> web.Response:
    """Answer webhooks.default.secret.get."""
    return django_answer({"key": call.account.webhook_key})


HANDLERS: dict[str, Handler] = {
    "account.get": get_account,
    "hardware.list": list_hardware,
    "collections.list": list_collections,
    "collections.get": get_collection,
    "webhooks.default.secret.get": get_webhook_secret,
}
