"""Finding out whether a create whose answer was lost has happened.

The API has no idempotency key, but lists predictions with their inputs. A prediction in the list
of the same model and input, made since the create began and belonging to no other item, is the
one; several items of the same input are matched by count. None in the list, a while after the
create could last have been acted on, means that there is none. Whatever else is left undecided:
inputs that the API has removed, lists that cannot be read or that lack what is known to be there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, time
from typing import Final, Literal, Protocol

import msgspec

from replicate_async.errors import (
    APIConnectionError,
    JournalError,
    RateLimitError,
    ReplicateError,
    ServerError,
    TLSError,
)
from replicate_async.refs import VersionRef
from replicate_async.runs.batch.calls import Patience
from replicate_async.runs.batch.identity import agree, could_agree, fields, has_file, likeness
from replicate_async.runs.batch.results import ItemInput
from replicate_async.schemas import Prediction

_TOGETHER: Final = 0.05
"""Seconds in which further questions join a look at the list."""
_LATE: Final = 900.0
"""Seconds from the intent to the creation at most: the pace and refusals hold a create up."""
_HEX_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Found:
    """The prediction that the create made."""

    prediction_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """There is none: the create was not acted on, and may be sent again."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody can tell, and why."""

    reason: str


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
        """Return ids that a list of what was created between two times has to show."""
        ...


@dataclass(eq=False, slots=True)
class _Question:
    key: str
    like: object
    canonical: bytes | None
    """The likeness as JSON; None with files in it, which are compared one by one."""
    intent_at: float
    settled_at: float
    """From when a look that does not show the prediction proves that there is none."""
    patient: bool
    """Whether to look again when the list cannot be read."""
    answer: asyncio.Future[Verdict] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(slots=True)
class _Look:
    """What one reading of the list has shown."""

    began: float
    exact: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: list[tuple[str, object]] = field(default_factory=list[tuple[str, object]])
    """Predictions that may be ours, each with the likeness of its input."""
    unreadable: list[str] = field(default_factory=list[str])
    """Predictions of unknown input, which may be anybody's."""
    ids: set[str] = field(default_factory=set[str])


class Reconciler:
    """Answers for all items of a batch, with as few looks at the list as will do."""

    def __init__(
        self,
        ref: VersionRef,
        list_between: Callable[[datetime, datetime], AsyncIterable[Prediction]],
        get: Callable[[str], Awaitable[Prediction]],
        book: Book,
        patience: Patience,
    ) -> None:
        self._ref = ref
        self._list = list_between
        self._get = get
        self._book = book
        self._patience = patience
        self._questions: list[_Question] = []
        self._looking: asyncio.Task[None] | None = None
        self._hurried = False
        self._failing_since: float | None = None
        self._failure: ReplicateError | None = None
        self._looks_again_at = 0.0

    def hurry(self) -> None:
        """Give up at once when the list cannot be read, since somebody waits for the end."""
        self._hurried = True

    async def resolve(
        self, key: str, given: ItemInput, intent_at: float, *, sent_until: float, patient: bool
    ) -> Verdict:
        """Say what became of a create that began at *intent_at* (seconds since 1970).

        *sent_until* is the latest monotonic time at which it may have been sent. Unless *patient*,
        one failure to read the list is enough. A prediction that is found is recorded in the book
        before this returns.
        """
        if self._failure is not None and monotonic() < self._looks_again_at:
            unreadable = self._verdict_on(self._failure, patient=patient)
            if unreadable is not None:
                return unreadable
        like = likeness(fields(given))
        question = _Question(
            key=key,
            like=like,
            canonical=None if has_file(like) else _canonical(like),
            intent_at=intent_at,
            settled_at=sent_until + self._patience.settle,
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
        left = [each.settled_at for each in self._questions if not each.answer.done()]
        if not left:
            return _TOGETHER
        return min(max(_TOGETHER, min(left) - monotonic()), max(_TOGETHER, 5.0))

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
        claimed = await self._book.claimed(look.ids)
        for question in asked:
            if not question.answer.done():
                await self._decide(question, asked, look, claimed)

    async def _read(self, asked: list[_Question]) -> _Look:
        """Read the list from before the first to after the last of the creates in question."""
        margin, now = self._patience.margin, time()
        look = _Look(began=monotonic())
        earliest = min(question.intent_at for question in asked) - margin
        latest = max(question.intent_at for question in asked) + _LATE + margin
        # From longer ago than what is asked for: known predictions show whether the list is whole.
        expected = self._book.expected(earliest, min(now - self._patience.settle, latest - margin))
        wanted = {question.canonical for question in asked}
        after = datetime.fromtimestamp(earliest - margin, UTC)
        before = datetime.fromtimestamp(latest, UTC)
        async for prediction in self._list(after, before):
            expected.discard(prediction.id)
            created = prediction.created_at
            if created is not None and created.timestamp() < earliest:
                continue
            if prediction.input is None and not prediction.data_removed:
                prediction = await self._get(prediction.id)  # noqa: PLW2901 - the same, with more
            kind = self._is_of_model(prediction)
            if kind == "no":
                continue
            like = likeness(prediction.input)
            canonical = _canonical(like)
            if prediction.data_removed or not (prediction.input or canonical in wanted):
                look.unreadable.append(prediction.id)
            elif canonical in wanted and kind == "yes":
                look.exact[canonical].append(prediction.id)
            elif any(could_agree(question.like, like) for question in asked):
                look.others.append((prediction.id, like))
            else:
                continue
            look.ids.add(prediction.id)
        if expected:
            raise ReplicateError(f"it does not show {min(expected)}, which was created")
        return look

    def _is_of_model(self, prediction: Prediction) -> Literal["yes", "perhaps", "no"]:
        """Tell whether a prediction is of the batch's model; official ones go by other names."""
        version, wanted = prediction.version or "", self._ref
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

    async def _decide(
        self, question: _Question, asked: list[_Question], look: _Look, claimed: set[str]
    ) -> None:
        if question.canonical is not None:
            for candidate in reversed(look.exact.get(question.canonical, [])):
                if candidate not in claimed:
                    await self._found(question, candidate, claimed)
                    return
        open_ids = [id for id, like in look.others if could_agree(question.like, like)]
        suspects = [id for id in (*open_ids, *look.unreadable) if id not in claimed]
        if question.canonical is None and len(suspects) == 1 and not look.unreadable:
            like = next(like for id, like in look.others if id == suspects[0])
            rivals = [other for other in asked if agree(other.like, like)]
            if agree(question.like, like) and rivals == [question]:
                await self._found(question, suspects[0], claimed)
                return
        if suspects:
            _say(question, Undecided(_unclear(suspects)))
        elif look.began >= question.settled_at:
            _say(question, Absent())

    async def _found(self, question: _Question, prediction_id: str, claimed: set[str]) -> None:
        claimed.add(prediction_id)
        await self._book.claim(question.key, prediction_id)
        _say(question, Found(prediction_id))


def _say(question: _Question, verdict: Verdict) -> None:
    if not question.answer.done():
        question.answer.set_result(verdict)


def _unclear(suspects: list[str]) -> str:
    shown = ", ".join(suspects[:3]) + (", ..." if len(suspects) > 3 else "")
    return f"it may be {shown}, whose input is removed or is shown differently"


def _canonical(like: object) -> bytes:
    return msgspec.json.encode(like, order="deterministic", enc_hook=repr)
