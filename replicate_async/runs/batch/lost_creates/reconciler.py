"""The verdicts about creates whose answers were lost.

The API has no idempotency key, but lists predictions with their inputs. A prediction in the list
of the same model and input, made since the create began and belonging to no other item, is the
one; several items of the same input are matched by count. What is compared is the input as it was
sent, which the journal has, and no other lost create may be shown in the same way.

Absence has to be proved: by a list that goes back to before the create began and was written a
while after its answer was lost, both by the API's own clock, and in which every prediction of the
model belongs to another item or certainly has another input. All else is undecided: lists that
cannot be read, that do not say when they were written, or that lack known predictions; inputs that
the API has removed or shows otherwise than they were sent.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from replicate_async.core.api_clock import Moment, moment
from replicate_async.core.backoff import backoff
from replicate_async.errors import JournalError, ReplicateError
from replicate_async.files.inputs import canonical_input
from replicate_async.refs import VersionRef
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.errors import is_transient
from replicate_async.runs.batch.journal import Entry, State
from replicate_async.runs.batch.keys import digest
from replicate_async.runs.batch.lost_creates.comparison import ComparedInput, WholeFields
from replicate_async.runs.batch.lost_creates.lost_create import Found, LostCreate, UndecidedError
from replicate_async.runs.batch.lost_creates.matching import (
    Candidate,
    certain_matches,
    describe,
    is_of_model,
)
from replicate_async.runs.batch.lost_creates.sent_input import canonical
from replicate_async.schemas import Prediction

_COLLECT: Final = 0.05
"""Seconds in which further creates join a reading of the list."""
_SHORTEST_PAUSE: Final = 0.25
"""Seconds between two readings at least."""
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two readings at most: the list may show the prediction by now."""
_OPEN_END: Final = 4_102_444_800.0
"""The end of a range without one, in 2100: not every stand-in for the API takes one end alone."""


@dataclass(slots=True)
class _Reading:
    """One reading of the list."""

    began: Moment
    written_at: float = math.inf
    """The API's time at which its oldest page was written; 0 when a page does not say."""
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    """Predictions that belong to no item, newest first."""


class Reconciler:
    """Decides about the lost creates of a batch, with as few readings of the list as possible."""

    def __init__(self, batch: BatchContext) -> None:
        self._options, self._api, self._journal = batch.options, batch.api, batch.journal
        self._claims = batch.claims
        self._timeouts = batch.options.timeouts
        self._lost: dict[str, LostCreate] = {}
        """Creates that may have made any prediction that is like theirs, by key."""
        self._whole = WholeFields()
        self._reader: asyncio.Task[None] | None = None
        self._hurried = False

    @property
    def _ref(self) -> VersionRef:
        """The model with the version that is asked for."""
        ref, version = self._options.ref, self._journal.header.latest_version
        return ref if version is None else ref._replace(version=version)

    def hurry(self) -> None:
        """Decide at once when the list cannot be read: the batch ends."""
        self._hurried = True

    def look_for(self, entry: Entry, lost_at: Moment) -> LostCreate:
        """Look for the create of *entry*, which had been sent by *lost_at*.

        The list is not read before one is resolved: those of earlier runs are all known by then,
        and each of them may have made what another one seems to have made.
        """
        lost = self._lost[entry.key] = LostCreate(entry, lost_at, self._api.clock, self._timeouts)
        return lost

    async def resolve(self, entry: Entry, lost_at: Moment) -> Found | None:
        """Return the prediction that the create of *entry* made, None if it made none.

        It is recorded. Raises `UndecidedError`.
        """
        lost = self._lost.get(entry.key) or self.look_for(entry, lost_at)
        if lost.is_open and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read_until_decided())
        found = await lost.verdict
        del self._lost[entry.key]
        return found

    async def aclose(self) -> None:
        """Stop reading the list; it decides nothing more."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})

    async def _read_until_decided(self) -> None:
        failures, failing_since = 0, monotonic()
        between = max(_SHORTEST_PAUSE, min(self._timeouts.settle / 2, _LONGEST_PAUSE))
        try:
            await asyncio.sleep(_COLLECT)
            while creates := self._open():
                try:
                    await self._decide(creates, await self._read(creates))
                except JournalError:
                    raise
                except ReplicateError as error:
                    failing_since = failing_since if failures else monotonic()
                    failures += 1
                    pause = backoff(failures, base=min(1.0, self._timeouts.settle / 2), cap=30.0)
                    self._give_up(error, failing_since)
                else:
                    pause, failures = between, 0
                if self._open():
                    await asyncio.sleep(pause)
        except Exception as error:  # noqa: BLE001 - it is raised by each item
            for lost in self._open():
                lost.fail(error)

    def _open(self) -> list[LostCreate]:
        return [each for each in self._lost.values() if each.is_open]

    def _give_up(self, error: ReplicateError, failing_since: float) -> None:
        """Decide the creates that do not wait until the list can be read.

        One that was uncertain in an earlier run already does not wait.
        """
        is_over = monotonic() - failing_since >= self._timeouts.outage
        waits = not (self._hurried or is_over) and is_transient(error)
        for lost in self._open():
            if not (waits and lost.entry.state is State.INTENT):
                lost.fail(UndecidedError(f"the list of predictions cannot be read ({error})"))

    async def _read(self, creates: list[LostCreate]) -> _Reading:
        """Read the list from before the first of the lost creates until now."""
        margin = self._timeouts.margin
        reading = _Reading(moment())
        since = min(each.window[0] for each in creates)
        before = max(each.window[1] for each in creates)
        now = self._api.clock.earliest(reading.began) or since
        until = min(now - self._timeouts.settle, before - margin)
        expected = self._claims.expected(since, until)
        wanted = {each.input.canonical for each in creates}
        # From longer ago than needed: known predictions show whether the list is complete.
        async for page in self._api.pages(_date(since - margin), _date(min(before, _OPEN_END))):
            reading.written_at = min(reading.written_at, page.written_at or 0.0)
            ids = [each.id for each in page.results]
            expected.difference_update(ids)
            claimed = await self._journal.claimed(ids)
            for listed in page.results:
                self._learn_whole(listed)
                if listed.id in claimed:
                    continue
                if candidate := await self._candidate(listed, since, wanted):
                    reading.candidates.append(candidate)
        if expected:
            raise ReplicateError(f"it does not show {min(expected)}, which was created")
        return reading

    def _learn_whole(self, shown: Prediction) -> None:
        """Learn from a prediction of the batch what the list shows as it was sent."""
        known = self._claims.digest(shown.id)
        if known and isinstance(shown.input, dict):
            found = digest(self._options.model, canonical_input(shown.input))
            if found.hex().startswith(known):
                self._whole.add(ComparedInput(canonical(shown.input)))

    async def _candidate(
        self, prediction: Prediction, since: float, wanted: set[bytes]
    ) -> Candidate | None:
        """Return a prediction that may be the result of a lost create, None for others."""
        created = prediction.created_at
        created_at = None if created is None else created.timestamp()
        if created_at is not None and created_at < since:
            return None
        if prediction.input is None and not prediction.data_removed:
            prediction = await self._api.get(prediction.id)  # the same, with more
        of_model = is_of_model(prediction, self._ref)
        if of_model == "no":
            return None
        is_shown = isinstance(prediction.input, dict) and not prediction.data_removed
        shown = canonical(prediction.input if is_shown else {})
        return Candidate(
            id=prediction.id,
            created_at=created_at,
            input=ComparedInput(shown),
            is_clear=is_shown and of_model == "yes",
            ended=prediction if shown in wanted and _shows_end(prediction) else None,
        )

    async def _decide(self, creates: list[LostCreate], reading: _Reading) -> None:
        # Creates under way may be in the list, and are not claimed before they are recorded.
        await self._claims.under_way()
        claimed = await self._journal.claimed([each.id for each in reading.candidates])
        candidates = [each for each in reading.candidates if each.id not in claimed]
        uncertain = [each for each in self._lost.values() if not each.is_certain]
        # In a thread, as a long list and many lost creates take a while.
        found = await asyncio.to_thread(certain_matches, uncertain, candidates, self._whole)
        for lost, match in found.items():
            if lost.is_open:
                candidates.remove(match)
                await self._journal.record(lost.entry.created(match.id))
                lost.decide(Found(match.id, match.ended))
        for lost in creates:
            await asyncio.sleep(0)  # as above
            flaw = lost.flaw(reading.written_at)
            if flaw is not None and not lost.is_settled(reading.began):
                continue  # a later list may show more
            suspects = [each for each in candidates if each.may_be_of(lost)]
            if suspects:
                written_at = reading.written_at if flaw is None else None
                lost.fail(UndecidedError(describe(suspects, lost), written_at))
            elif flaw is not None:
                lost.fail(UndecidedError(flaw))
            else:
                lost.decide(None)


def _shows_end(listed: Prediction) -> bool:
    """Whether *listed* has ended, and `predictions.get` shows no more of it.

    The API's documents list predictions without logs. A success without output may be one in part.
    """
    is_whole = listed.output is not None or listed.status != "succeeded"
    return listed.done and is_whole and listed.logs is not None


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
