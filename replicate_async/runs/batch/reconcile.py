"""Finding out whether a create happened whose answer was lost.

The API has no idempotency key, but lists predictions with their inputs. A prediction in the list
of the same model and input, made since the create began and belonging to no other item, is the
one; several items of the same input are matched by count. A file is the same by its bytes, its
checksum or its URL, and no other lost create may be shown in the same way.

Absence has to be proved: by a list that goes back to before the create began and was written a
while after its answer was lost, both by the API's own clock, and in which every prediction of the
model belongs to another item or certainly has another input. All else is undecided: lists that
cannot be read, that do not say when they were written, or that lack known predictions; inputs that
the API has removed or shows otherwise than they were sent.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic, time
from typing import Final

from replicate_async.core.api_clock import ApiClock, Moment, moment
from replicate_async.core.backoff import backoff
from replicate_async.errors import JournalError, ReplicateError
from replicate_async.refs import VersionRef
from replicate_async.runs.batch.api import Listed, ListedPage
from replicate_async.runs.batch.claims import ClaimStore
from replicate_async.runs.batch.comparison import comparable
from replicate_async.runs.batch.errors import is_transient
from replicate_async.runs.batch.faithful import FaithfulFields
from replicate_async.runs.batch.identity import digest, normalize
from replicate_async.runs.batch.json_tree import leaves, map_leaves
from replicate_async.runs.batch.known_file import KnownFile, upload_id
from replicate_async.runs.batch.matching import (
    Candidate,
    LostCreate,
    Wanted,
    Window,
    canonical,
    describe,
    is_of_model,
)
from replicate_async.runs.batch.options import BatchTimeouts
from replicate_async.schemas import Prediction

_COLLECT: Final = 0.05
"""Seconds in which further lookups join a reading of the list."""
_SHORTEST_PAUSE: Final = 0.25
"""Seconds between two readings at least."""
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two readings at most: the prediction may be in the list by now."""
_MAX_CHECKSUMS: Final = 2000
"""Uploads whose checksums are fetched for one reading. Files of other uploads stay undecided."""
_CHECKSUMS_AT_ONCE: Final = 8
_FAR: Final = 24 * 60 * 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Found:
    """The prediction that the create made, with its end if the list shows that."""

    prediction_id: str
    ended: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """The create made no prediction, and may be sent again."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The list does not tell, and why."""

    reason: str
    window_end: float | None = None
    """The API's time of a list that shows the prediction if there is one, if one was read."""


Verdict = Found | Absent | Undecided


@dataclass(eq=False, slots=True)
class _Lookup:
    """A lost create, and the future of its verdict."""

    lost: LostCreate
    wanted: Wanted
    patient: bool
    """Whether to read again when the list cannot be read."""
    verdict: asyncio.Future[Verdict] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    asked_at: float = field(default_factory=monotonic)

    @property
    def is_open(self) -> bool:
        return not self.verdict.done()

    @property
    def is_certain(self) -> bool:
        """Whether it is known what the create made."""
        if self.is_open or self.verdict.cancelled() or self.verdict.exception() is not None:
            return False
        return not isinstance(self.verdict.result(), Undecided)

    def decide(self, verdict: Verdict) -> None:
        if self.is_open:
            self.verdict.set_result(verdict)


@dataclass(slots=True)
class _Reading:
    """One reading of the list."""

    began: Moment
    before: float
    """The API's time up to which it reaches."""
    written_at: float | None
    """The API's time at which its oldest page was written; None when a page does not say."""
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    """Predictions that belong to no item, newest first."""
    faithful: FaithfulFields = field(default_factory=FaithfulFields)


class Reconciler:
    """Decides about the lost creates of a batch, with as few readings of the list as possible."""

    def __init__(
        self,
        model: str,
        ref: Callable[[], VersionRef],
        pages: Callable[[datetime, datetime], AsyncIterable[ListedPage]],
        get: Callable[[str], Awaitable[Prediction]],
        claims: ClaimStore,
        clock: ApiClock,
        timeouts: BatchTimeouts,
        file_sha256: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        self._model = model
        self._ref = ref
        self._pages = pages
        self._get = get
        self._claims = claims
        self._clock = clock
        self._timeouts = timeouts
        self._file_sha256 = file_sha256
        self._uploads: dict[str, str | None] = {}
        """Checksums of uploads in the list, by URL."""
        self._lookups: list[_Lookup] = []
        """Lookups without a certain verdict: what they look for may be any that is like it."""
        self._ahead: dict[str, _Lookup] = {}
        """Lookups of items that have not started, by key."""
        self._unread: dict[str, _Lookup] = {}
        """Creates of earlier runs whose inputs are not read yet, by key."""
        self._reader: asyncio.Task[None] | None = None
        self._hurried = False
        self._failing_since: float | None = None
        self._failure: ReplicateError | None = None
        self._reads_again_at = 0.0

    def hurry(self) -> None:
        """Decide at once when the list cannot be read: the batch ends."""
        self._hurried = True

    def expect(self, lost: LostCreate) -> None:
        """Note a lost create of an earlier run whose input is not read yet."""
        self._unread[lost.key] = _Lookup(lost, Wanted(lost.normalized), patient=False)

    def look_ahead(self, lost: LostCreate, *, patient: bool) -> None:
        """Look for a lost create whose item has not started; `resolve` returns its verdict."""
        self._ahead[lost.key] = self._look_up(lost, patient=patient)

    async def resolve(self, lost: LostCreate, *, patient: bool) -> Verdict:
        """Return what became of a create. A prediction that is found is recorded before.

        Unless *patient*, one failure to read the list is enough.
        """
        lookup = self._ahead.pop(lost.key, None) or self._look_up(lost, patient=patient)
        return await lookup.verdict

    def _look_up(self, lost: LostCreate, *, patient: bool) -> _Lookup:
        lookup = _Lookup(lost, Wanted(lost.normalized), patient)
        self._unread.pop(lost.key, None)
        self._lookups = [each for each in self._lookups if not each.is_certain]
        self._lookups.append(lookup)
        if self._failure is not None and monotonic() < self._reads_again_at:
            unreadable = self._verdict_on(self._failure, patient=patient)
            if unreadable is not None:
                lookup.decide(unreadable)
        if lookup.is_open and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read_until_decided())
        return lookup

    async def aclose(self) -> None:
        """Stop reading the list; no lookup is open any more."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})

    async def _read_until_decided(self) -> None:
        pause, failures = _COLLECT, 0
        try:
            while self._open():
                await asyncio.sleep(pause)
                try:
                    if lookups := self._open():
                        await self._decide_all(lookups)
                except JournalError:
                    raise
                except ReplicateError as error:
                    failures += 1
                    pause = backoff(failures, base=min(1.0, self._timeouts.settle / 2), cap=30.0)
                    self._note_failure(error, pause)
                else:
                    failures, self._failing_since, self._failure = 0, None, None
                    pause = self._pause()
        except Exception as error:  # noqa: BLE001 - it is raised by each lookup
            for lookup in self._open():
                lookup.verdict.set_exception(error)
                lookup.verdict.exception()  # its item may never start, and leave it unread

    def _open(self) -> list[_Lookup]:
        return [each for each in self._lookups if each.is_open]

    # When a list can prove something.

    def _pause(self) -> float:
        """Return the seconds until another reading can tell more than the last."""
        lost = [each.lost for each in self._open()]
        if not lost:
            return _COLLECT
        return min(max(_SHORTEST_PAUSE, min(map(self._until_proof, lost))), _LONGEST_PAUSE)

    def _until_proof(self, lost: LostCreate) -> float:
        """Return the fewest seconds until a list can prove that *lost* did not happen."""
        needed, now = self._needed(lost), self._clock.latest()
        if needed is None or now is None:
            return lost.lost_at.awake + self._timeouts.settle - monotonic()
        return math.ceil(needed) - now  # Date has whole seconds

    def _needed(self, lost: LostCreate) -> float | None:
        """Return the API's time from which a list shows what *lost* has made, if it is known."""
        if lost.window_end is not None:
            return lost.window_end
        latest = self._clock.latest(lost.lost_at)
        return None if latest is None else latest + self._timeouts.settle

    def _is_settled(self, lost: LostCreate, began: Moment) -> bool:
        """Whether a reading that *began* then was late enough, by this machine's clock."""
        needed, now = self._needed(lost), self._clock.earliest(began)
        if needed is None or now is None:
            return began.awake >= lost.lost_at.awake + self._timeouts.settle
        return now >= math.ceil(needed)

    def _flaw(self, lost: LostCreate, reading: _Reading) -> str | None:
        """Return why *reading* does not show all that *lost* may have made, None if it does."""
        needed = self._needed(lost)
        if lost.window_start is None:
            return "the API's time was not known when it was sent"
        if reading.written_at is None or needed is None:
            return "the list of predictions does not say when it was written, or a cache answered"
        if reading.written_at < needed:
            return "the list of predictions is an old one"
        if reading.before < (lost.window_end or reading.written_at):
            return "the API's time was not known when the list was asked for"
        return None

    def _note_failure(self, error: ReplicateError, pause: float) -> None:
        """Remember that the list cannot be read, and decide lookups that do not wait for it."""
        now = monotonic()
        if self._failing_since is None:
            self._failing_since = now
        self._failure, self._reads_again_at = error, now + pause
        for lookup in self._lookups:
            unreadable = self._verdict_on(error, patient=lookup.patient)
            if unreadable is not None:
                lookup.decide(unreadable)

    def _verdict_on(self, error: ReplicateError, *, patient: bool) -> Undecided | None:
        """Return the verdict when the list cannot be read, None to read it again."""
        failing = monotonic() - (self._failing_since or monotonic())
        waits = patient and not self._hurried and failing < self._timeouts.outage
        if waits and is_transient(error):
            return None
        return Undecided(f"the list of predictions cannot be read ({error})")

    # Reading.

    async def _read(self, lookups: list[_Lookup]) -> _Reading:
        """Read the list from before the first of the lost creates until now."""
        margin = self._timeouts.margin
        earliest = min(self._start(each.lost) for each in lookups) - margin
        before = max(self._end(each.lost) for each in lookups) + margin
        reading = _Reading(began=moment(), before=before, written_at=math.inf)
        # From longer ago than needed: known predictions show whether the list is complete.
        now = self._clock.earliest(reading.began) or earliest
        until = min(now - self._timeouts.settle, before - margin)
        expected = self._claims.expected(earliest, until)
        wanted = {each.wanted.canonical for each in lookups}
        async for page in self._pages(_date(earliest - margin), _date(before)):
            if page.written_at is None or reading.written_at is None:
                reading.written_at = None
            else:
                reading.written_at = min(reading.written_at, page.written_at)
            self._add_faithful(reading.faithful, page)
            ids = [each.prediction.id for each in page.results]
            expected.difference_update(ids)
            claimed = await self._claims.claimed(ids)
            for listed in page.results:
                if listed.prediction.id not in claimed:
                    candidate = await self._candidate(listed, earliest, wanted)
                    reading.candidates += [] if candidate is None else [candidate]
        if expected:
            raise ReplicateError(f"it does not show {min(expected)}, which was created")
        return reading

    def _add_faithful(self, faithful: FaithfulFields, page: ListedPage) -> None:
        digests = self._claims.digests()
        for shown in (each.prediction for each in page.results):
            known = digests.get(shown.id)
            if known is not None and isinstance(shown.input, dict):
                found = digest(self._model, shown.input, read=False)
                if found is not None and found.hex().startswith(known):
                    faithful.add(shown.input)

    def _start(self, lost: LostCreate) -> float:
        """Return the API's time when *lost* began, as far as it is known."""
        if lost.window_start is not None:
            return lost.window_start
        now = self._clock.earliest()  # this machine's clock may have been set since
        return lost.intent_at if now is None else now - (time() - lost.intent_at)

    def _end(self, lost: LostCreate) -> float:
        """Return a time of the API after which *lost* cannot have happened."""
        if lost.window_end is not None:
            return lost.window_end
        # Later than now: the API's time is known for certain once the list is there.
        return max(time(), self._clock.latest() or 0.0) + _FAR

    def _rival_window(self, lost: LostCreate) -> Window:
        return self._window(lost)[0], (self._needed(lost) or math.inf) + self._timeouts.margin

    def _window(self, lost: LostCreate) -> Window:
        margin = self._timeouts.margin
        return self._start(lost) - margin, (lost.window_end or math.inf) + margin

    async def _candidate(
        self, listed: Listed, earliest: float, wanted: set[bytes | None]
    ) -> Candidate | None:
        """Return a prediction that may be the result of a lost create, None for others."""
        prediction = listed.prediction
        created = prediction.created_at
        created_at = None if created is None else created.timestamp()
        if created_at is not None and created_at < earliest:
            return None
        if prediction.input is None and not prediction.data_removed:
            prediction = await self._get(prediction.id)  # the same, with more
        of_model = is_of_model(prediction, self._ref())
        if of_model == "no":
            return None
        normalized = normalize(prediction.input)
        as_json = canonical(normalized)
        is_wanted = as_json in wanted
        return Candidate(
            id=prediction.id,
            created_at=created_at,
            normalized=normalized,
            canonical=as_json,
            comparable=comparable(normalized),
            same_model=of_model == "yes",
            readable=not prediction.data_removed and (bool(prediction.input) or is_wanted),
            ended=prediction if listed.whole and prediction.done and is_wanted else None,
        )

    # Deciding.

    async def _decide_all(self, lookups: list[_Lookup]) -> None:
        reading = await self._read(lookups)
        # Creates under way may be in the list, and are not claimed before they are recorded.
        await self._claims.under_way()
        claimed = await self._claims.claimed([each.id for each in reading.candidates])
        await self._add_checksums(reading, claimed)
        found, doubtful = await self._match(reading, claimed)
        for lookup, candidate in found.items():
            if candidate.id not in claimed and lookup.is_open:
                claimed.add(candidate.id)
                await self._claims.claim(lookup.lost.key, candidate.id)
                lookup.decide(Found(candidate.id, candidate.ended))
        for lookup in lookups:
            await asyncio.sleep(0)  # a long list and many lookups take a while
            if lookup.is_open and not (lookup in doubtful and self._waits_for_rivals(lookup)):
                self._decide(lookup, reading, claimed)

    async def _add_checksums(self, reading: _Reading, claimed: set[str]) -> None:
        """Add the checksums of uploads in the list that may be files of lost creates."""
        wanted = [each.wanted for each in self._open() if each.wanted.goes_by_content]
        if self._file_sha256 is None or not wanted:
            return
        places: list[int] = []
        for at, candidate in enumerate(reading.candidates):
            await asyncio.sleep(0)
            if candidate.id not in claimed and any(each.may_be(candidate) for each in wanted):
                places.append(at)
        shown = (leaf for at in places for leaf in leaves(reading.candidates[at].normalized))
        urls = dict.fromkeys(leaf for leaf in shown if isinstance(leaf, str) and upload_id(leaf))
        await self._fetch_checksums([url for url in urls if url not in self._uploads])
        for at in places:
            candidate = reading.candidates[at]
            known = map_leaves(candidate.normalized, self._with_checksum)
            reading.candidates[at] = replace(
                candidate, normalized=known, comparable=comparable(known)
            )

    async def _fetch_checksums(self, urls: Sequence[str]) -> None:
        left = iter(urls[:_MAX_CHECKSUMS])

        async def fetch() -> None:
            for url in left:
                if self._file_sha256 is not None:
                    self._uploads[url] = await self._file_sha256(url)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(urls), _CHECKSUMS_AT_ONCE)):
                group.create_task(fetch())

    def _with_checksum(self, leaf: object) -> object:
        found = self._uploads.get(leaf) if isinstance(leaf, str) else None
        return leaf if found is None else KnownFile(url=str(leaf), sha256=found)

    def _waits_for_rivals(self, lookup: _Lookup) -> bool:
        """Whether a later reading may find the rivals of *lookup* elsewhere."""
        return not self._hurried and monotonic() - lookup.asked_at < self._timeouts.settle

    async def _match(
        self, reading: _Reading, claimed: set[str]
    ) -> tuple[dict[_Lookup, Candidate], set[_Lookup]]:
        """Return the predictions that certainly belong to lookups, and lookups in doubt.

        A list that cuts texts or rounds numbers shows one input like another, shorter one. So a
        match is dropped if it may be that of a lookup without one, be it one that was undecided or
        whose input is not read yet.
        """
        found: dict[_Lookup, Candidate] = {}
        in_doubt: set[_Lookup] = set()
        taken = set(claimed)
        uncertain = [each for each in self._lookups if not each.is_certain]
        for lookup in uncertain:
            await asyncio.sleep(0)
            for candidate in reversed(self._unclaimed(lookup, reading, taken)):
                if lookup.wanted.is_match(candidate):
                    found[lookup] = candidate
                    taken.add(candidate.id)
                    break
        unmatched = [each for each in uncertain if each not in found]
        unmatched += self._unread.values()
        while unmatched:
            await asyncio.sleep(0)
            rival = unmatched.pop()
            window = self._rival_window(rival.lost)
            doubtful = [
                lookup
                for lookup, candidate in found.items()
                if not lookup.wanted.is_same(rival.wanted)
                and candidate.is_within(window)
                and rival.wanted.may_be_shown_as(candidate)
                and not reading.faithful.rule_out(rival.wanted.normalized, candidate.normalized)
            ]
            for lookup in doubtful:
                del found[lookup]
            unmatched += doubtful
            in_doubt.update(doubtful)
        return found, in_doubt

    def _unclaimed(self, lookup: _Lookup, reading: _Reading, claimed: set[str]) -> list[Candidate]:
        """Return the predictions in the window of *lookup* that belong to no item."""
        window = self._window(lookup.lost)
        return [
            each for each in reading.candidates if each.id not in claimed and each.is_within(window)
        ]

    def _decide(self, lookup: _Lookup, reading: _Reading, claimed: set[str]) -> None:
        """Decide a lookup that has no match, unless a later list can tell more."""
        unclaimed = self._unclaimed(lookup, reading, claimed)
        suspects = [each for each in unclaimed if lookup.wanted.may_be(each)]
        flaw = self._flaw(lookup.lost, reading)
        if flaw is None and not suspects:
            lookup.decide(Absent())
        elif flaw is None:
            lookup.decide(Undecided(describe(suspects), reading.written_at))
        elif self._is_settled(lookup.lost, reading.began) or (suspects and self._hurried):
            lookup.decide(Undecided(describe(suspects) if suspects else flaw))


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
