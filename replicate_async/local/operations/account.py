"""The account operation."""

from __future__ import annotations

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.responses import Response, django_response


async def get_account(context: RequestContext) -> Response:
    """Answer account.get."""
    return django_response(context.serialize.account(context.account))


HANDLERS: dict[str, Handler] = {
    "account.get": get_account,
}
