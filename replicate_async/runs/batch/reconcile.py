"""Finding out whether a create whose answer was lost has happened.

The API has no idempotency key, but lists predictions with their inputs. A prediction in the list
of the same model and input, made since the create began and belonging to no other item, is the
one; several items of the same input are matched by count. A file has to be known for the same by
its bytes, its checksum or its URL, and no other open item may be shown in the same way.

That there is none has to be proved: by a list that goes back to before the create began and was
written a while after its answer was lost, both by the API's own clock, and in which every
prediction of the model belongs to another item or has an input that is certainly another. All else
is left undecided: lists that cannot be read, that do not say when they were written, or that lack
what is known to be there; inputs that the API has removed or shows otherwise than they were sent.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic, time
from typing import Final, Literal, Protocol, cast

import msgspec

from replicate_async.core.api_clock import ApiClock, Moment, moment
from replicate_async.errors import (
    APIConnectionError,
    JournalError,
    RateLimitError,
    ReplicateError,
    ServerError,
    TLSError,
)
from replicate_async.refs import VersionRef
from replicate_async.runs.batch.api import Listed, ListedPage
from replicate_async.runs.batch.comparison import comparable, differs, says_more
from replicate_async.runs.batch.identity import agree, has_file, likeness
from replicate_async.runs.batch.known_file import KnownFile, map_strings
from replicate_async.runs.batch.options import BatchTimeouts
from replicate_async.schemas import Prediction

_TOGETHER: Final = 0.05
"""Seconds in which further questions join a look at the list."""
_AGAIN: Final = 0.25
"""Seconds between two looks at least."""
_LOOKS_EVERY: Final = 5.0
"""Seconds after which the list is looked at again, at most: the prediction may be there."""
_HEX_LENGTH: Final = 64
_FAR: Final = 24 * 60 * 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Found:
    """The prediction that the create made, with its end if the list shows that."""

    prediction_id: str
    ended: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """There is none: the create was not acted on, and may be sent again."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """It cannot be told, and why."""

    reason: str
    window_end: float | None = None
    """The API's time of a list that shows the prediction if there is one, if one was read."""


Verdict = Found | Absent | Undecided


class Book(Protocol):
    """What is known of the predictions that belong to the batch."""

    async def claimed(self, ids: Iterable[str]) -> set[str]:
        """Return those of *ids* that belong to an item already."""
        ...

    async def claim(self, key: str, prediction_id: str) -> None:
        """Record that a prediction belongs to an item."""
        ...

    def under_way(self) -> Awaitable[object]:
        """Return what ends when the creates that are now under way are recorded."""
        ...

    def expected(self, since: float, until: float) -> set[str]:
        """Return ids that a list has to show of what was created between two times of the API."""
        ...


@dataclass(frozen=True, slots=True)
class LostCreate:
    """A create whose outcome is not known."""

    key: str
    like: object
    """The `likeness` of its input."""
    intent_at: float
    """When it was intended, in seconds since 1970 on this machine's clock."""
    window_start: float | None
    """A time on the API's clock before which it cannot have happened, if that is known."""
    window_end: float | None
    """One by which it is in the list if it happened, if that is known."""
    lost_at: Moment
    """A moment by which it had been sent."""


@dataclass(eq=False, slots=True)
class _Question:
    lost: LostCreate
    like: object
    canonical: bytes | None
    """The likeness as JSON; None with files in it, which are compared one by one."""
    compared: object
    patient: bool
    """Whether to look again when the list cannot be read."""
    answer: asyncio.Future[Verdict] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A prediction in the list that may be one of ours."""

    id: str
    created_at: float | None
    like: object
    canonical: bytes
    compared: object
    same_model: bool
    """Whether it certainly is of the batch's model."""
    readable: bool
    """Whether its input is shown."""
    ended: Prediction | None
    """Its end, if it is of a wanted input and shown whole."""


@dataclass(slots=True)
class _Look:
    """What one reading of the list has shown."""

    began: Moment
    before: float
    """The API's time up to which it reaches."""
    written_at: float | None
    """The API's time at which its first page was written; None when a page does not say."""
    candidates: list[_Candidate] = field(default_factory=list[_Candidate])
    """Predictions that belong to no item, newest first."""


class Reconciler:
    """Answers for all items of a batch, with as few looks at the list as will do."""

    def __init__(
        self,
        ref: Callable[[], VersionRef],
        pages: Callable[[datetime, datetime], AsyncIterable[ListedPage]],
        get: Callable[[str], Awaitable[Prediction]],
        book: Book,
        clock: ApiClock,
        patience: BatchTimeouts,
        file_sha256: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        self._ref = ref
        self._pages = pages
        self._get = get
        self._book = book
        self._clock = clock
        self._patience = patience
        self._file_sha256 = file_sha256
        self._uploads: dict[str, str | None] = {}
        """Checksums of uploads in the list, by URL."""
        self._questions: list[_Question] = []
        self._looking: asyncio.Task[None] | None = None
        self._hurried = False
        self._failing_since: float | None = None
        self._failure: ReplicateError | None = None
        self._looks_again_at = 0.0

    def hurry(self) -> None:
        """Give up at once when the list cannot be read, since somebody waits for the end."""
        self._hurried = True

    async def resolve(self, lost: LostCreate, *, patient: bool) -> Verdict:
        """Say what became of a create.

        Unless *patient*, one failure to read the list is enough. A prediction that is found is
        recorded in the book before this returns.
        """
        if self._failure is not None and monotonic() < self._looks_again_at:
            unreadable = self._verdict_on(self._failure, patient=patient)
            if unreadable is not None:
                return unreadable
        like = lost.like
        question = _Question(
            lost=lost,
            like=like,
            canonical=None if has_file(like) else _canonical(like),
            compared=comparable(like),
            patient=patient,
        )
        self._questions.append(question)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_until_answered())
        try:
            return await question.answer
        finally:
            if question in self._questions:
                self._questions.remove(question)

    async def aclose(self) -> None:
        """Look no more; nobody asks any more."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})

    async def _look_until_answered(self) -> None:
        pause, failures = _TOGETHER, 0
        try:
            while self._questions:
                await asyncio.sleep(pause)
                try:
                    if asked := list(self._questions):
                        await self._look(asked)
                except JournalError:
                    raise
                except ReplicateError as error:
                    failures += 1
                    pause = min(2.0 ** (failures - 1), 30.0) * min(1.0, self._patience.settle / 2)
                    self._note(error, pause)
                else:
                    failures, self._failing_since, self._failure = 0, None, None
                    pause = self._until_next()
        except Exception as error:  # noqa: BLE001 - it is raised to those who ask
            for question in self._questions:
                if not question.answer.done():
                    question.answer.set_exception(error)

    def _until_next(self) -> float:
        """Return the seconds until another look can say more than the last."""
        open_ones = [each.lost for each in self._questions if not each.answer.done()]
        if not open_ones:
            return _TOGETHER
        return min(max(_AGAIN, min(map(self._until_proof, open_ones))), _LOOKS_EVERY)

    def _until_proof(self, lost: LostCreate) -> float:
        """Return the fewest seconds until a list can prove that *lost* did not happen."""
        needed, now = self._needed(lost), self._clock.latest()
        if needed is None or now is None:
            return lost.lost_at.awake + self._patience.settle - monotonic()
        return math.ceil(needed) - now  # Date has whole seconds

    def _needed(self, lost: LostCreate) -> float | None:
        """Return the API's time from which a list shows what *lost* has made, if it is known."""
        if lost.window_end is not None:
            return lost.window_end
        latest = self._clock.latest(lost.lost_at)
        return None if latest is None else latest + self._patience.settle

    def _note(self, error: ReplicateError, pause: float) -> None:
        """Remember that the list cannot be read, and answer those who will not wait for it."""
        now = monotonic()
        if self._failing_since is None:
            self._failing_since = now
        self._failure, self._looks_again_at = error, now + pause
        for question in self._questions:
            unreadable = self._verdict_on(error, patient=question.patient)
            if unreadable is not None:
                _say(question, unreadable)

    def _verdict_on(self, error: ReplicateError, *, patient: bool) -> Undecided | None:
        """Return what a list that cannot be read means, None to wait until it can be."""
        passing = isinstance(error, APIConnectionError | ServerError | RateLimitError)
        passing = passing and not isinstance(error, TLSError)
        failing = monotonic() - (self._failing_since or monotonic())
        if patient and passing and not self._hurried and failing < self._patience.outage:
            return None
        return Undecided(f"the list of predictions cannot be read ({error})")

    async def _look(self, asked: list[_Question]) -> None:
        look = await self._read(asked)
        # Their answers may be in the list already, and are no news to the book until recorded.
        await self._book.under_way()
        claimed = await self._book.claimed([each.id for each in look.candidates])
        await self._look_into_uploads(look, claimed)
        for question, candidate in (await self._matches(look, claimed)).items():
            if candidate.id not in claimed and not question.answer.done():
                await self._found(question, candidate, claimed)
        for question in asked:
            await asyncio.sleep(0)  # a long list and many questions take a while
            if not question.answer.done():
                self._decide(question, look, claimed)

    async def _read(self, asked: list[_Question]) -> _Look:
        """Read the list from before the first of the creates in question until now."""
        margin = self._patience.margin
        starts = [self._start(question.lost) for question in asked]
        earliest = min(start for start, _ in starts) - margin
        before = max(map(self._end, asked)) + margin
        look = _Look(began=moment(), before=before, written_at=math.inf)
        # From longer ago than what is asked for: known predictions show whether the list is whole.
        now = self._clock.earliest(look.began) or earliest
        expected = self._book.expected(earliest, min(now - self._patience.settle, before - margin))
        wanted = {question.canonical for question in asked}
        async for page in self._pages(_date(earliest - margin), _date(before)):
            if look.written_at is not None:
                look.written_at = (
                    None if page.written_at is None else min(look.written_at, page.written_at)
                )
            ids = [each.prediction.id for each in page.results]
            expected.difference_update(ids)
            claimed = await self._book.claimed(ids)
            for listed in page.results:
                if listed.prediction.id not in claimed:
                    candidate = await self._candidate(listed, earliest, wanted)
                    look.candidates += [] if candidate is None else [candidate]
        if expected:
            raise ReplicateError(f"it does not show {min(expected)}, which was created")
        return look

    def _start(self, lost: LostCreate) -> tuple[float, bool]:
        """Return the API's time when *lost* began, and whether that is certain."""
        if lost.window_start is not None:
            return lost.window_start, True
        now = self._clock.earliest()  # the local clock may have been set since, so it is no proof
        return (lost.intent_at if now is None else now - (time() - lost.intent_at)), False

    def _end(self, question: _Question) -> float:
        """Return a time of the API after which what is asked for cannot have been created."""
        if question.lost.window_end is not None:
            return question.lost.window_end
        # All until now, and more: the API's time is surely known once the list is there.
        return max(time(), self._clock.latest() or 0.0) + _FAR

    async def _candidate(
        self, listed: Listed, earliest: float, wanted: set[bytes | None]
    ) -> _Candidate | None:
        """Return what may be one of ours, None for what cannot be."""
        prediction = listed.prediction
        created = prediction.created_at
        created_at = None if created is None else created.timestamp()
        if created_at is not None and created_at < earliest:
            return None
        if prediction.input is None and not prediction.data_removed:
            prediction = await self._get(prediction.id)  # the same, with more
        kind = self._is_of_model(prediction)
        if kind == "no":
            return None
        like = likeness(prediction.input)
        canonical = _canonical(like)
        return _Candidate(
            id=prediction.id,
            created_at=created_at,
            like=like,
            canonical=canonical,
            compared=comparable(like),
            same_model=kind == "yes",
            readable=not prediction.data_removed
            and (bool(prediction.input) or canonical in wanted),
            ended=prediction if listed.whole and prediction.done and canonical in wanted else None,
        )

    def _is_of_model(self, prediction: Prediction) -> Literal["yes", "perhaps", "no"]:
        """Tell whether a prediction is of the batch's model; official ones go by other names."""
        version, wanted = prediction.version or "", self._ref()
        if prediction.deployment:
            return "no"
        if wanted.version and version == wanted.version:
            return "yes"
        if wanted.version and len(version) == len(wanted.version) == _HEX_LENGTH:
            return "no"
        if wanted.model is not None and prediction.model == str(wanted.model):
            return "yes" if not wanted.version else "perhaps"
        hidden = len(version) != _HEX_LENGTH
        return "perhaps" if hidden or prediction.model is None else "no"

    async def _look_into_uploads(self, look: _Look, claimed: set[str]) -> None:
        """Put checksums to the uploads in the list that may be files of ours."""
        asking = [each for each in self._open() if _goes_by_content(each.like)]
        if self._file_sha256 is None or not asking:
            return
        for at, candidate in enumerate(look.candidates):
            await asyncio.sleep(0)
            if candidate.id in claimed or not any(_may_be(each, candidate) for each in asking):
                continue
            for url in _strings(candidate.like):
                if url not in self._uploads:
                    self._uploads[url] = await self._file_sha256(url)
            like = map_strings(candidate.like, self._with_checksum)
            look.candidates[at] = replace(candidate, like=like, compared=comparable(like))

    def _with_checksum(self, text: str) -> object:
        found = self._uploads.get(text)
        return text if found is None else KnownFile(url=text, sha256=found)

    def _open(self) -> list[_Question]:
        return [each for each in self._questions if not each.answer.done()]

    async def _matches(self, look: _Look, claimed: set[str]) -> dict[_Question, _Candidate]:
        """Return the predictions that certainly are those of open questions.

        A list that cuts texts or rounds numbers shows one input like another, shorter one. So a
        question that has no match of its own casts doubt on the matches that may be its.
        """
        matches: dict[_Question, _Candidate] = {}
        taken = set(claimed)
        for question in self._open():
            await asyncio.sleep(0)
            if (candidate := self._match(question, look, taken)) is not None:
                matches[question] = candidate
                taken.add(candidate.id)
        unmatched = [each for each in self._open() if each not in matches]
        while unmatched:
            await asyncio.sleep(0)
            rival = unmatched.pop()
            doubtful = [
                question
                for question, candidate in matches.items()
                if not _is_same(question, rival) and self._may_be_shown(rival, candidate)
            ]
            for question in doubtful:
                del matches[question]
            unmatched += doubtful
        return matches

    def _match(self, question: _Question, look: _Look, taken: set[str]) -> _Candidate | None:
        """Return a prediction of exactly the input in question, the oldest that is left."""
        for candidate in reversed(self._left(question, look, taken)):
            if not candidate.readable or not candidate.same_model:
                continue
            if candidate.canonical == question.canonical or (
                question.canonical is None and agree(question.like, candidate.like)
            ):
                return candidate
        return None

    def _may_be_shown(self, rival: _Question, candidate: _Candidate) -> bool:
        """Whether the list may show what *rival* has created as *candidate*."""
        return (
            self._is_of_its_time(rival, candidate)
            and not differs(rival.compared, candidate.compared)
            and not says_more(rival.compared, candidate.compared)
        )

    def _left(self, question: _Question, look: _Look, claimed: set[str]) -> list[_Candidate]:
        """Return the predictions of its time that belong to no item."""
        return [
            each
            for each in look.candidates
            if each.id not in claimed and self._is_of_its_time(question, each)
        ]

    def _is_of_its_time(self, question: _Question, candidate: _Candidate) -> bool:
        start = self._start(question.lost)[0] - self._patience.margin
        end = (question.lost.window_end or math.inf) + self._patience.margin
        return candidate.created_at is None or start <= candidate.created_at <= end

    def _decide(self, question: _Question, look: _Look, claimed: set[str]) -> None:
        suspects = [each for each in self._left(question, look, claimed) if _may_be(question, each)]
        fault = self._fault(question.lost, look)
        if fault is None and not suspects:
            _say(question, Absent())
        elif fault is None:
            _say(question, Undecided(_unclear(suspects), look.written_at))
        elif self._is_settled(question.lost, look.began) or (suspects and self._hurried):
            _say(question, Undecided(_unclear(suspects) if suspects else fault))

    def _fault(self, lost: LostCreate, look: _Look) -> str | None:
        """Return why *look* does not show all that *lost* may have made, None if it does."""
        needed = self._needed(lost)
        if lost.window_start is None:
            return "the API's time was not known when it was sent"
        if look.written_at is None or needed is None:
            return "the list of predictions does not say when it was written, or a cache answered"
        if look.written_at < needed:
            return "the list of predictions is an old one"
        if look.before < (lost.window_end or look.written_at):
            return "the API's time was not known when the list was asked for"
        return None

    def _is_settled(self, lost: LostCreate, began: Moment) -> bool:
        """Whether a look that *began* then had to be late enough, by our own clock."""
        needed, now = self._needed(lost), self._clock.earliest(began)
        if needed is None or now is None:
            return began.awake >= lost.lost_at.awake + self._patience.settle
        return now >= math.ceil(needed)

    async def _found(self, question: _Question, candidate: _Candidate, claimed: set[str]) -> None:
        claimed.add(candidate.id)
        await self._book.claim(question.lost.key, candidate.id)
        _say(question, Found(candidate.id, candidate.ended))


def _say(question: _Question, verdict: Verdict) -> None:
    if not question.answer.done():
        question.answer.set_result(verdict)


def _is_same(question: _Question, other: _Question) -> bool:
    """Whether two questions are of one input, whose predictions are interchangeable."""
    if question.canonical is None or other.canonical is None:
        return question.like == other.like
    return question.canonical == other.canonical


def _may_be(question: _Question, candidate: _Candidate) -> bool:
    return not candidate.readable or not differs(question.compared, candidate.compared)


def _goes_by_content(likened: object) -> bool:
    """Whether there is a file in it whose content is known, and whose URL may not be."""
    if isinstance(likened, dict):
        return any(map(_goes_by_content, cast("dict[str, object]", likened).values()))
    if isinstance(likened, list):
        return any(map(_goes_by_content, cast("list[object]", likened)))
    return isinstance(likened, KnownFile) and likened.sha256 is not None


def _strings(likened: object) -> list[str]:
    found: list[str] = []
    map_strings(likened, found.append)
    return found


def _unclear(suspects: list[_Candidate]) -> str:
    shown = ", ".join(each.id for each in suspects[:3]) + (", ..." if len(suspects) > 3 else "")
    return f"it may be {shown}, whose input is removed or is shown differently"


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _canonical(like: object) -> bytes:
    return msgspec.json.encode(like, order="deterministic", enc_hook=repr)
