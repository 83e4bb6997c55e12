"""The account that the token belongs to."""

from __future__ import annotations

from typing import Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.resources._base import Resource
from replicate_async.schemas import Account

GET: Final = Endpoint("GET", "/account", returns=Account)


class AccountResource(Resource):
    """The account of the token; ``client.account``."""

    async def get(self) -> Account:
        """Fetch the account that the token belongs to (account.get)."""
        return await self._client.call(GET)
