"""Request headers that keep what they hold to themselves."""

from __future__ import annotations

from multidict import CIMultiDict


class SecretHeaders(CIMultiDict[str]):
    """Request headers that do not show their values where a traceback prints its locals.

    Of aiohttp's own kind, which it need not make of a dictionary for each request.
    """

    def __repr__(self) -> str:
        return f"<SecretHeaders {', '.join(self)}>"
