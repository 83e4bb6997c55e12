"""Webhooks that end waits: verified with the account's secret, which is fetched once."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar, cast

from msgspec import Raw

from replicate_async.context import ClientContext
from replicate_async.errors import WebhookVerificationError
from replicate_async.resources.endpoints import WEBHOOKS_DEFAULT_SECRET_GET
from replicate_async.runs.waiting.listed_run import decode
from replicate_async.schemas import Prediction, Training, WebhookSecret
from replicate_async.schemas.redaction import redact_run
from replicate_async.webhooks import Headers, Secret, unwrap

RunT = TypeVar("RunT", Prediction, Training)


async def handle_webhook(
    context: ClientContext,
    body: bytes | str,
    headers: Headers,
    secret: Secret | None,
    kind: type[RunT],
) -> RunT:
    """Verify a webhook, give its run to the waits for that run, and return it."""
    run = await _verified(context, body, headers, secret, kind)
    raw = Raw(body.encode() if isinstance(body, str) else bytes(body))
    # One URL may get both kinds, and a training is a prediction, too.
    if kind is Prediction:
        context.tracker.notify("prediction", run)
        _announce_as(context, "training", Training, run.id, raw)
    else:
        context.tracker.notify("training", run)
        _announce_as(context, "prediction", Prediction, run.id, raw)
    return run


def _announce_as(
    context: ClientContext, name: str, kind: type[RunT], run_id: str, raw: Raw
) -> None:
    if context.tracker.is_tracked(name, run_id):
        other = decode(raw, kind)
        if other is not None:
            context.tracker.notify(name, redact_run(other, context.redact))


async def _verified(
    context: ClientContext,
    body: bytes | str,
    headers: Headers,
    secret: Secret | None,
    kind: type[RunT],
) -> RunT:
    # The overloads of `unwrap` name each kind; it returns *kind* for both.
    def check(secret: Secret) -> RunT:
        run = cast("RunT", unwrap(body, headers, secret, type=kind))  # type: ignore[redundant-cast] # for pyright
        return redact_run(run, context.redact)

    def fetch() -> Awaitable[WebhookSecret]:
        return context.call(WEBHOOKS_DEFAULT_SECRET_GET)

    if secret is not None:
        return check(secret)
    known = await context.webhook_secret.get(fetch)
    try:
        return check(known())
    except WebhookVerificationError as error:
        if error.reason != "InvalidSignature":
            raise
        refusal = error
    renewed = await context.webhook_secret.renewed(fetch, known)
    if renewed is None:
        raise refusal
    return check(renewed())
