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
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from replicate_async.core.api_clock import Moment, moment
from replicate_async.core.backoff import backoff
from replicate_async.errors import JournalError, ReplicateError
from replicate_async.refs import VersionRef
from replicate_async.runs.batch.api import Listed
from replicate_async.runs.batch.context import BatchContext
from replicate_async.runs.batch.errors import is_transient
from replicate_async.runs.batch.identity import digest
from replicate_async.runs.batch.journal import Entry, State
from replicate_async.runs.batch.lost_creates.faithful import FaithfulFields
from replicate_async.runs.batch.lost_creates.lost_create import (
    Absent,
    Found,
    LostCreate,
    Undecided,
    Verdict,
)
from replicate_async.runs.batch.lost_creates.matching import (
    Candidate,
    ComparedInput,
    describe,
    is_of_model,
)
from replicate_async.schemas import Prediction

_COLLECT: Final = 0.05
"""Seconds in which further creates join a reading of the list."""
_SHORTEST_PAUSE: Final = 0.25
"""Seconds between two readings at least."""
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two readings at most: the prediction may be in the list by now."""
_OPEN_END: Final = 4_102_444_800.0
"""The end of a range without one, in 2100: not every stand-in for the API takes one end alone."""


@dataclass(slots=True)
class _Reading:
    """One reading of the list."""

    began: Moment
    written_at: float | None = math.inf
    """The API's time at which its oldest page was written; None when a page does not say."""
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    """Predictions that belong to no item, newest first."""
    faithful: FaithfulFields = field(default_factory=FaithfulFields)


class Reconciler:
    """Decides about the lost creates of a batch, with as few readings of the list as possible."""

    def __init__(self, batch: BatchContext) -> None:
        self._options, self._api, self._journal = batch.options, batch.api, batch.journal
        self._claims = batch.claims
        self._timeouts = batch.options.timeouts
        self._lost: dict[str, LostCreate] = {}
        """Creates that may have made any prediction that is like theirs, by key."""
        self._reader: asyncio.Task[None] | None = None
        self._hurried = False
        self._failing_since: float | None = None
        self._failure: ReplicateError | None = None
        """Why the list could not be read, until it is read again."""

    @property
    def _ref(self) -> VersionRef:
        """The model with the version that is asked for."""
        ref, version = self._options.ref, self._journal.header.latest_version
        return ref if version is None else ref._replace(version=version)

    def hurry(self) -> None:
        """Decide at once when the list cannot be read: the batch ends."""
        self._hurried = True

    def look_for(self, entry: Entry, lost_at: Moment) -> LostCreate:
        """Look for the create of *entry*, which had been sent by *lost_at*."""
        lost = LostCreate(entry, lost_at, self._api.clock, self._timeouts)
        self._lost[entry.key] = lost
        if self._failure is not None:
            self._give_up(lost, self._failure)
        if lost.is_open and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read_until_decided())
        return lost

    async def resolve(self, entry: Entry, lost_at: Moment) -> Verdict:
        """Return what became of the create of *entry*. A prediction that is found is recorded."""
        lost = self._lost.get(entry.key) or self.look_for(entry, lost_at)
        verdict = await lost.verdict
        if not isinstance(verdict, Undecided):
            del self._lost[entry.key]
        return verdict

    async def aclose(self) -> None:
        """Stop reading the list; it decides nothing more."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})

    async def _read_until_decided(self) -> None:
        pause, failures = _COLLECT, 0
        try:
            while True:
                await asyncio.sleep(pause)
                self._failure = None
                creates = self._open()
                if not creates:
                    return
                try:
                    await self._decide_all(creates)
                except JournalError:
                    raise
                except ReplicateError as error:
                    failures += 1
                    pause = backoff(failures, base=min(1.0, self._timeouts.settle / 2), cap=30.0)
                    self._failure = error
                    self._failing_since = self._failing_since or monotonic()
                    for lost in self._open():
                        self._give_up(lost, error)
                else:
                    failures, self._failing_since = 0, None
                    pause = self._pause()
        except Exception as error:  # noqa: BLE001 - it is raised by each item
            for lost in self._open():
                lost.decide(error)

    def _open(self) -> list[LostCreate]:
        return [each for each in self._lost.values() if each.is_open]

    def _pause(self) -> float:
        """Return the seconds until another reading can tell more than the last."""
        waits = [each.until_proof() for each in self._open()]
        return min(max(_SHORTEST_PAUSE, min(waits)), _LONGEST_PAUSE) if waits else _COLLECT

    def _give_up(self, lost: LostCreate, error: ReplicateError) -> None:
        """Decide a create that does not wait until the list can be read.

        One that was uncertain in an earlier run already does not wait.
        """
        failing = monotonic() - (self._failing_since or monotonic())
        patient = lost.entry.state is State.INTENT and failing < self._timeouts.outage
        if self._hurried or not patient or not is_transient(error):
            lost.decide(Undecided(f"the list of predictions cannot be read ({error})"))

    # Reading.

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
        digests = self._claims.digests()
        # From longer ago than needed: known predictions show whether the list is complete.
        async for page in self._api.pages(_date(since - margin), _date(min(before, _OPEN_END))):
            if page.written_at is None or reading.written_at is None:
                reading.written_at = None
            else:
                reading.written_at = min(reading.written_at, page.written_at)
            ids = [each.prediction.id for each in page.results]
            expected.difference_update(ids)
            claimed = await self._journal.claimed(ids)
            for listed in page.results:
                if (known := digests.get(listed.prediction.id)) is not None:
                    self._add_faithful(reading.faithful, listed.prediction, known)
                if listed.prediction.id in claimed:
                    continue
                if candidate := await self._candidate(listed, since, wanted):
                    reading.candidates.append(candidate)
        if expected:
            raise ReplicateError(f"it does not show {min(expected)}, which was created")
        return reading

    def _add_faithful(self, faithful: FaithfulFields, shown: Prediction, known: str) -> None:
        if isinstance(shown.input, dict):
            found = digest(self._options.model, shown.input, read=False)
            if found is not None and found.hex().startswith(known):
                faithful.add(shown.input)

    async def _candidate(
        self, listed: Listed, since: float, wanted: set[bytes]
    ) -> Candidate | None:
        """Return a prediction that may be the result of a lost create, None for others."""
        prediction = listed.prediction
        created = prediction.created_at
        created_at = None if created is None else created.timestamp()
        if created_at is not None and created_at < since:
            return None
        if prediction.input is None and not prediction.data_removed:
            prediction = await self._api.get(prediction.id)  # the same, with more
        of_model = is_of_model(prediction, self._ref)
        if of_model == "no":
            return None
        shown = ComparedInput(prediction.input)
        is_wanted = shown.canonical in wanted
        return Candidate(
            id=prediction.id,
            created_at=created_at,
            input=shown,
            same_model=of_model == "yes",
            readable=not prediction.data_removed and (bool(prediction.input) or is_wanted),
            ended=prediction if listed.is_complete and prediction.done and is_wanted else None,
        )

    # Deciding.

    async def _decide_all(self, creates: list[LostCreate]) -> None:
        reading = await self._read(creates)
        # Creates under way may be in the list, and are not claimed before they are recorded.
        await self._claims.under_way()
        claimed = await self._journal.claimed([each.id for each in reading.candidates])
        candidates = [each for each in reading.candidates if each.id not in claimed]
        found, doubtful = await self._match(candidates, reading.faithful)
        for lost, candidate in found.items():
            if lost.is_open:
                candidates.remove(candidate)
                await self._journal.record(lost.entry.created(candidate.id))
                lost.decide(Found(candidate.id, candidate.ended))
        for lost in creates:
            await asyncio.sleep(0)  # a long list and many lost creates take a while
            # A later reading may find the rivals of one in doubt elsewhere.
            waits = not self._hurried and monotonic() - lost.began_at < self._timeouts.settle
            if lost.is_open and not (waits and lost in doubtful):
                self._decide(lost, reading, candidates)

    async def _match(
        self, candidates: list[Candidate], faithful: FaithfulFields
    ) -> tuple[dict[LostCreate, Candidate], set[LostCreate]]:
        """Return the predictions that certainly belong to creates, and creates in doubt.

        A list that cuts texts or rounds numbers shows one input like another, shorter one. So a
        match is dropped if it may be that of a create without one, be it one that was undecided.
        It is dropped, too, where more predictions have the input than creates of it were lost:
        another process has made some of them.
        """
        found: dict[LostCreate, Candidate] = {}
        unmatched: list[LostCreate] = []
        in_doubt: set[LostCreate] = set()
        free = candidates[::-1]
        for lost in [each for each in self._lost.values() if not each.is_certain]:
            await asyncio.sleep(0)
            window = lost.window
            for candidate in free:
                if candidate.is_of(lost.input) and candidate.is_within(window):
                    found[lost] = candidate
                    free.remove(candidate)
                    break
            else:
                unmatched.append(lost)
        for lost in list(found):
            await asyncio.sleep(0)
            window = lost.window_of_rival
            if any(each.is_of(lost.input) and each.is_within(window) for each in free):
                del found[lost]
                unmatched.append(lost)
                in_doubt.add(lost)
        while unmatched:
            await asyncio.sleep(0)
            rival = unmatched.pop()
            window = rival.window_of_rival
            doubtful = [
                lost
                for lost, candidate in found.items()
                if lost.input.canonical != rival.input.canonical
                and candidate.is_within(window)
                and candidate.may_show(rival.input, faithful)
            ]
            for lost in doubtful:
                del found[lost]
            unmatched += doubtful
            in_doubt.update(doubtful)
        return found, in_doubt

    def _decide(self, lost: LostCreate, reading: _Reading, candidates: Sequence[Candidate]) -> None:
        """Decide a create that has no match, unless a later list can tell more."""
        window = lost.window
        suspects = [
            each for each in candidates if each.is_within(window) and each.may_be_of(lost.input)
        ]
        flaw = lost.flaw(reading.written_at)
        if flaw is None and not suspects:
            lost.decide(Absent())
        elif flaw is None:
            lost.decide(Undecided(describe(suspects, lost.input), reading.written_at))
        elif lost.is_settled(reading.began) or (suspects and self._hurried):
            lost.decide(Undecided(describe(suspects, lost.input) if suspects else flaw))


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
