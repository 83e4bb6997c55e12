"""Which function answers which operation; one for each, or nothing starts."""

from __future__ import annotations

from collections.abc import Mapping

from replicate_async.local import (
    accounts,
    deployments,
    models,
    predictions,
    search,
    trainings,
    uploads,
)
from replicate_async.local.answers import Handler
from replicate_async.resources import ENDPOINTS

HANDLERS: Mapping[str, Handler] = {
    **accounts.HANDLERS,
    **deployments.HANDLERS,
    **models.HANDLERS,
    **predictions.HANDLERS,
    **search.HANDLERS,
    **trainings.HANDLERS,
    **uploads.HANDLERS,
}

if HANDLERS.keys() != ENDPOINTS.keys():
    raise RuntimeError(
        "The embedded server must answer every operation and no other: "
        f"{sorted(HANDLERS.keys() ^ ENDPOINTS.keys())}"
    )
