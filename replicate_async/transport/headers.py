"""Request headers, and the token that goes with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict

from replicate_async.core.token import Token

_AUTHORIZATION: Final = "Authorization"


class SecretHeaders:
    """Headers of a request, which no attribute or local variable of ours holds with the token.

    A traceback that prints its locals would show it. *attached* says whether the token goes along.
    """

    __slots__ = ("_fields", "_token", "attached", "covered_in", "options", "overriding")

    def __init__(self, fields: Mapping[str, str], token: Token, *, attached: bool) -> None:
        self._fields = dict(fields)
        self._token = token
        self.covered_in: Callable[[str], str] = token.covered_in
        """Return text that a server sent, without the token."""
        whole = CIMultiDict(fields)
        if attached:
            whole[_AUTHORIZATION] = token.bearer
        self.attached: bool = attached
        self.options: Callable[[], dict[str, Any]] = lambda: {"headers": whole}
        """Return the options of a request that send these headers."""
        replaced = _replacing(token.bearer if attached else None)
        self.overriding: Callable[[], dict[str, Any]] = lambda: {
            "headers": self._fields,
            "middlewares": (replaced,),
        }
        """Return those that send them over a session which has its own idea of them."""

    def plus(self, fields: Mapping[str, str]) -> SecretHeaders:
        """Return these headers and *fields*."""
        return SecretHeaders({**self._fields, **fields}, self._token, attached=self.attached)


def _replacing(bearer: str | None) -> aiohttp.ClientMiddlewareType:
    """Return what replaces `auth` of a session and what .netrc says of the host by *bearer*.

    It replaces the middlewares of the session, too: one that repeats requests would repeat
    creates. A quarter of a request's cost, so that the client's own session has none.
    """

    def replace(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> Awaitable[aiohttp.ClientResponse]:
        if bearer is None:
            request.headers.popall(_AUTHORIZATION, None)
        else:
            request.headers[_AUTHORIZATION] = bearer
        return send(request)

    return replace
