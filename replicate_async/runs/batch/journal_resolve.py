"""Deciding by hand what a journal left open: whether a create has happened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from replicate_async.errors import InvalidArgumentError, NotFoundError
from replicate_async.refs import parse_version
from replicate_async.runs.batch.journal import Journal
from replicate_async.runs.batch.journal_entry import JournalHeader
from replicate_async.runs.batch.journal_status import status
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
    header = await _header(path)
    try:
        prediction = await get(prediction_id)
    except NotFoundError:
        raise InvalidArgumentError(
            f"there is no prediction {prediction_id!r}, or this token may not see it: copy its id "
            "from https://replicate.com/predictions."
        ) from None
    _check_model(prediction, header.model)
    await _resolve(path, header, key, prediction.id)


async def resolve_absent(path: str | os.PathLike[str], key: str) -> None:
    """Record in the journal at *path* that the create of *key* made none: it is planned again."""
    await _resolve(path, await _header(path), key, None)


async def _header(path: str | os.PathLike[str]) -> JournalHeader:
    return (await asyncio.to_thread(status, path)).header


async def _resolve(
    path: str | os.PathLike[str], header: JournalHeader, key: str, prediction_id: str | None
) -> None:
    async with await Journal.open(path, header, create=False) as journal:
        await journal.resolve(key, prediction_id)


def _check_model(prediction: Prediction, wanted: str) -> None:
    """Refuse a prediction that is certainly not of the batch's model."""
    ref, version = parse_version(wanted), prediction.version or ""
    found = None
    if ref.version is not None and len(version) == len(ref.version) == _VERSION_LENGTH:
        found = version if version != ref.version else None
    elif ref.model is not None and prediction.model not in (None, str(ref.model)):
        found = prediction.model
    if found is not None:
        raise InvalidArgumentError(
            f"prediction {prediction.id} is one of {found}, and the batch runs {wanted}: copy the "
            "id of the one that was created for this item."
        )
