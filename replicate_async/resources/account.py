"""The account that the token belongs to."""

from __future__ import annotations

from replicate_async.resources._base import Resource
from replicate_async.resources.endpoints import ACCOUNT_GET
from replicate_async.schemas import Account


class AccountResource(Resource):
    """The account of the token; ``client.account``."""

    async def get(self) -> Account:
        """Fetch the account that the token belongs to (account.get)."""
        return await self._context.call(ACCOUNT_GET)
