"""The webhooks operation."""

from __future__ import annotations

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.responses import Response, django_response


async def get_webhook_secret(context: RequestContext) -> Response:
    """Answer webhooks.default.secret.get."""
    return django_response({"key": context.account.webhook_key})


HANDLERS: dict[str, Handler] = {
    "webhooks.default.secret.get": get_webhook_secret,
}
