"""The account that a token belongs to."""

from __future__ import annotations

from msgspec import Struct

from replicate_async.schemas.values import URL, AccountType


class Account(Struct, frozen=True, kw_only=True):
    """A user or an organization."""

    username: str
    type: AccountType | None = None
    name: str | None = None
    github_url: URL | None = None
    avatar_url: URL | None = None
