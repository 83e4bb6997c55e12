"""The secret that signs webhooks; `replicate_async.webhooks` verifies them."""

from __future__ import annotations

from typing import Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.resources._base import Caller, Resource
from replicate_async.schemas import WebhookSecret

GET_SECRET: Final = Endpoint("GET", "/webhooks/default/secret", returns=WebhookSecret)


class DefaultWebhookSecret(Resource):
    """The account's webhook secret; ``client.webhooks.default.secret``."""

    async def get(self) -> WebhookSecret:
        """Fetch the secret; keep its ``key``, it seldom changes (webhooks.default.secret.get)."""
        return await self._client.call(GET_SECRET)


class DefaultWebhook(Resource):
    """The account's default webhook; ``client.webhooks.default``."""

    __slots__ = ("secret",)

    def __init__(self, client: Caller) -> None:
        super().__init__(client)
        self.secret: DefaultWebhookSecret = DefaultWebhookSecret(client)


class Webhooks(Resource):
    """Webhooks of the account; ``client.webhooks``."""

    __slots__ = ("default",)

    def __init__(self, client: Caller) -> None:
        super().__init__(client)
        self.default: DefaultWebhook = DefaultWebhook(client)
