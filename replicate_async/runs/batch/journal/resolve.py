"""Resolving an uncertain create by hand: the user says whether it happened."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from replicate_async.errors import InvalidArgumentError, NotFoundError
from replicate_async.refs import parse_target
from replicate_async.runs.batch.journal.journal import Journal
from replicate_async.schemas import Prediction

_VERSION_LENGTH = 64


async def resolve_found(
    path: str | os.PathLike[str],
    key: str,
    prediction_id: str,
    get: Callable[[str], Awaitable[Prediction]],
) -> None:
    """Record in the journal at *path* that the create of *key* made a prediction.

    *get* fetches it: it must be there, and of the batch's model.
    """
    try:
        prediction = await get(prediction_id)
    except NotFoundError:
        raise InvalidArgumentError(
            f"there is no prediction {prediction_id!r}, or this token may not see it: copy its id "
            "from https://replicate.com/predictions."
        ) from None
    await _resolve(path, key, prediction)


async def resolve_absent(path: str | os.PathLike[str], key: str) -> None:
    """Record in the journal at *path* that the create of *key* made none: it is planned again."""
    await _resolve(path, key, None)


async def _resolve(path: str | os.PathLike[str], key: str, prediction: Prediction | None) -> None:
    async with await Journal.open(path) as journal:
        entry = await journal.get(key)
        if entry is None:
            raise InvalidArgumentError(
                f"the journal has no item {key!r}: 'replicate-async batch status' lists the "
                "undecided ones."
            )
        if not entry.is_open:
            raise InvalidArgumentError(
                f"{key!r} is {entry.state}, so there is nothing to decide about it."
            )
        if prediction is None:
            await journal.record(entry.reset())
            return
        _check_model(prediction, journal.header.model)
        await _check_free(journal, prediction.id)
        await journal.record(entry.created(prediction.id))


async def _check_free(journal: Journal, prediction_id: str) -> None:
    """Refuse a prediction that belongs or belonged to an item."""
    if not await journal.claimed([prediction_id]):
        return
    async for entry in journal.entries():
        if entry.prediction_id == prediction_id:
            raise InvalidArgumentError(f"prediction {prediction_id} belongs to {entry.key!r}.")
    raise InvalidArgumentError(
        f"prediction {prediction_id} was an earlier attempt at an item of this batch."
    )


def _check_model(prediction: Prediction, wanted: str) -> None:
    """Refuse a prediction that is certainly not of the batch's model."""
    ref, version = parse_target(wanted), prediction.version or ""
    found = None
    if ref.version is not None and len(version) == len(ref.version) == _VERSION_LENGTH:
        found = version if version != ref.version else None
    elif ref.model is not None and prediction.model not in (None, str(ref.model)):
        found = prediction.model
    elif ref.deployment is not None and prediction.deployment not in (None, str(ref.deployment)):
        found = f"the deployment {prediction.deployment}"
    if found is not None:
        raise InvalidArgumentError(
            f"prediction {prediction.id} is one of {found}, and the batch runs {wanted}: copy the "
            "id of the one that was created for this item."
        )
