"""Resolving an uncertain create by hand: the user says whether it happened."""

from __future__ import annotations

import os

from replicate_async.errors import InvalidArgumentError
from replicate_async.refs import parse_target
from replicate_async.runs.batch.journal.journal import Journal
from replicate_async.runs.batch.lost_creates.matching import is_of_model
from replicate_async.schemas import Prediction


async def resolve(path: str | os.PathLike[str], key: str, made: Prediction | None) -> None:
    """Record in the journal at *path* which prediction the create of *key* made.

    With None it made none, and the item is planned again.
    """
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
        if made is None:
            await journal.record(entry.reset())
            return
        _check_model(made, journal.header.model)
        await _check_free(journal, made.id)
        await journal.record(entry.created(made.id))


async def _check_free(journal: Journal, prediction_id: str) -> None:
    """Refuse a prediction that belongs or belonged to an item."""
    if await journal.claimed([prediction_id]):
        async for entry in journal.entries():
            if entry.prediction_id == prediction_id:
                raise InvalidArgumentError(f"prediction {prediction_id} belongs to {entry.key!r}.")
        raise InvalidArgumentError(
            f"prediction {prediction_id} was an earlier attempt at an item of this batch."
        )


def _check_model(made: Prediction, wanted: str) -> None:
    """Refuse a prediction of another version, deployment or model than the batch's."""
    ref = parse_target(wanted)
    verdict = is_of_model(made, ref)
    is_named_otherwise = made.model not in (None, str(ref.model or made.model))
    if verdict == "no" or (verdict == "perhaps" and is_named_otherwise):
        named = made.deployment or ":".join(filter(None, (made.model, made.version)))
        raise InvalidArgumentError(
            f"prediction {made.id} is one of {named}, and the batch runs {wanted}: copy the id of "
            "the one that was created for this item."
        )
