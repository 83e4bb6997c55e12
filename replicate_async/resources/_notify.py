"""Webhooks that end waits: checked with the account's secret, which is fetched once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar, cast

from msgspec import Raw

from replicate_async.errors import WebhookVerificationError
from replicate_async.resources._base import Caller
from replicate_async.resources.webhooks import GET_SECRET
from replicate_async.runs.glance import decode
from replicate_async.schemas import Prediction, Training
from replicate_async.webhooks import Headers, Secret, unwrap

RunT = TypeVar("RunT", Prediction, Training)

_RENEWED_AT_MOST: Final = 60.0
"""Seconds between two fetches that requests with wrong signatures can cause."""


class SigningSecret:
    """The account's webhook secret, as far as it was needed yet."""

    __slots__ = ("_clock", "_lock", "_loop", "_renewed_at", "_reveal")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # In a closure and not an attribute: vars(), debuggers and error reporters print those.
        self._reveal: Callable[[], str] | None = None
        self._renewed_at: float | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return "<SigningSecret hidden>"

    async def get(self, client: Caller) -> Callable[[], str]:
        """Return what gives the secret, which is fetched the first time."""
        async with self._turn():
            return self._reveal or await self._fetch(client)

    async def renewed(self, client: Caller, old: Callable[[], str]) -> Callable[[], str] | None:
        """Return what gives the secret that has taken the place of *old*; None when none has.

        Whoever sends wrong signatures makes it ask once a minute at most.
        """
        async with self._turn():
            now = self._clock()
            if self._reveal is old:
                if self._renewed_at is not None and now - self._renewed_at < _RENEWED_AT_MOST:
                    return None
                self._renewed_at = now
                await self._fetch(client)
            new = self._reveal
            return None if new is None or new() == old() else new

    async def _fetch(self, client: Caller) -> Callable[[], str]:
        found = await client.call(GET_SECRET)
        reveal = self._reveal = lambda: found.key
        return reveal

    def _turn(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


async def receive(
    client: Caller,
    body: bytes | str,
    headers: Headers,
    secret: Secret | None,
    kind: type[RunT],
) -> RunT:
    """Verify a webhook, give the run that it brings to those who wait for it, and return it."""
    run = await _verified(client, body, headers, secret, kind)
    raw = Raw(body.encode() if isinstance(body, str) else bytes(body))
    # One URL may get both kinds, and a training is a prediction, too.
    if kind is Prediction:
        client.waiter.announce("prediction", run)
        _announce_as(client, "training", Training, run.id, raw)
    else:
        client.waiter.announce("training", run)
        _announce_as(client, "prediction", Prediction, run.id, raw)
    return run


def _announce_as(client: Caller, name: str, kind: type[RunT], run_id: str, raw: Raw) -> None:
    if client.waiter.waits_for(name, run_id):
        other = decode(raw, kind)
        if other is not None:
            client.waiter.announce(name, other)


async def _verified(
    client: Caller,
    body: bytes | str,
    headers: Headers,
    secret: Secret | None,
    kind: type[RunT],
) -> RunT:
    # The overloads of `unwrap` name each kind; that it returns the one asked for holds for both.
    def check(secret: Secret) -> RunT:
        return cast("RunT", unwrap(body, headers, secret, type=kind))  # type: ignore[redundant-cast] # for pyright

    if secret is not None:
        return check(secret)
    known = await client.signing_secret.get(client)
    try:
        return check(known())
    except WebhookVerificationError as error:
        if error.reason != "InvalidSignature":
            raise
        refusal = error
    renewed = await client.signing_secret.renewed(client, known)
    if renewed is None:
        raise refusal
    return check(renewed())
