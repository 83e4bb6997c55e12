"""Which function answers which operation; one for each, or nothing starts."""

from __future__ import annotations

from collections.abc import Mapping

from replicate_async.local.http.responses import Handler
from replicate_async.local.operations import (
    account,
    deployments,
    files,
    models,
    predictions,
    search,
    trainings,
)
from replicate_async.resources import ENDPOINTS

HANDLERS: Mapping[str, Handler] = {
    **account.HANDLERS,
    **deployments.HANDLERS,
    **models.HANDLERS,
    **predictions.HANDLERS,
    **search.HANDLERS,
    **trainings.HANDLERS,
    **files.HANDLERS,
}

if HANDLERS.keys() != ENDPOINTS.keys():
    raise RuntimeError(
        "The embedded server must answer every operation and no other: "
        f"{sorted(HANDLERS.keys() ^ ENDPOINTS.keys())}"
    )
