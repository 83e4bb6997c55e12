"""The webhook secret of the account; `replicate_async.webhooks` verifies webhooks with it."""

from __future__ import annotations

from replicate_async.context import ClientContext
from replicate_async.resources._base import Resource
from replicate_async.resources.endpoints import WEBHOOKS_DEFAULT_SECRET_GET
from replicate_async.schemas import WebhookSecret


class DefaultWebhookSecret(Resource):
    """The account's webhook secret; ``client.webhooks.default.secret``."""

    async def get(self) -> WebhookSecret:
        """Fetch the secret, which seldom changes (webhooks.default.secret.get)."""
        return await self._context.call(WEBHOOKS_DEFAULT_SECRET_GET)


class DefaultWebhook(Resource):
    """The account's default webhook; ``client.webhooks.default``."""

    __slots__ = ("secret",)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.secret: DefaultWebhookSecret = DefaultWebhookSecret(context)


class Webhooks(Resource):
    """Webhooks of the account; ``client.webhooks``."""

    __slots__ = ("default",)

    def __init__(self, context: ClientContext) -> None:
        super().__init__(context)
        self.default: DefaultWebhook = DefaultWebhook(context)
