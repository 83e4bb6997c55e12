"""The secret that webhooks are signed with."""

from __future__ import annotations

from msgspec import Struct


class WebhookSecret(Struct, frozen=True, kw_only=True):
    """The webhook secret of an account, ``whsec_`` and base64; the repr hides it."""

    key: str

    def __repr__(self) -> str:
        return "WebhookSecret(key='whsec_***')"
