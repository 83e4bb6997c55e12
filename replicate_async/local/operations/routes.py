"""The handler of each operation."""

from __future__ import annotations

from collections.abc import Mapping

from replicate_async.local.http.context import Handler
from replicate_async.local.operations import (
    account,
    collections,
    deployments,
    files,
    hardware,
    models,
    predictions,
    search,
    trainings,
    webhooks,
)
from replicate_async.resources import ENDPOINTS

HANDLERS: Mapping[str, Handler] = {
    **account.HANDLERS,
    **collections.HANDLERS,
    **deployments.HANDLERS,
    **models.HANDLERS,
    **predictions.HANDLERS,
    **search.HANDLERS,
    **trainings.HANDLERS,
    **webhooks.HANDLERS,
    **files.HANDLERS,
    **hardware.HANDLERS,
}

if HANDLERS.keys() != ENDPOINTS.keys():
    raise RuntimeError(
        "each operation of ENDPOINTS, and no other, needs a handler in local/operations/: "
        f"{', '.join(sorted(HANDLERS.keys() ^ ENDPOINTS.keys()))}"
    )
