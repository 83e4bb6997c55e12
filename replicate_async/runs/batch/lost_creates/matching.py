"""Matching lost creates with the predictions in the list.

A prediction of the same model and input, made in the window of the create, matches. Several creates
of the same input are matched by count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from replicate_async.refs import VersionRef
from replicate_async.runs.batch.lost_creates.comparison import ComparedInput, WholeFields, may_be
from replicate_async.runs.batch.lost_creates.lost_create import LostCreate, Window
from replicate_async.schemas import Prediction

_HEX_LENGTH: Final = 64


@dataclass(eq=False, slots=True)
class Candidate:
    """A prediction in the list that may be the result of a lost create."""

    id: str
    created_at: float | None
    input: ComparedInput
    is_clear: bool
    """Whether its input is shown, and it certainly is of the batch's model."""
    ended: Prediction | None = None
    """The prediction, if the list shows its end whole and its input is looked for."""

    def is_of(self, lost: LostCreate) -> bool:
        """Whether it has the input that *lost* sent, and the model."""
        is_equal = self.is_clear and lost.input.canonical == self.input.canonical
        return is_equal and self._is_within(lost.window)

    def may_be_of(self, lost: LostCreate, whole: WholeFields | None = None) -> bool:
        """Whether *lost* may have made it, in a list that shows the fields *whole*."""
        return self._is_within(lost.window) and may_be(lost.input, self.input, whole)

    def _is_within(self, window: Window) -> bool:
        return self.created_at is None or window[0] <= self.created_at <= window[1]


def certain_matches(
    creates: Iterable[LostCreate], candidates: Sequence[Candidate], whole: WholeFields
) -> dict[LostCreate, Candidate]:
    """Return the predictions that certainly belong to creates.

    A list that cuts texts or rounds numbers shows one input like another, shorter one. So a match
    is dropped if it may be that of a create without one, be it one that was undecided. It is
    dropped, too, where more predictions have the input than creates of it were lost: another
    process has made some of them.
    """
    found: dict[LostCreate, Candidate] = {}
    rivals: list[LostCreate] = []
    free = list(reversed(candidates))  # the oldest first
    for lost in creates:
        match = next((each for each in free if each.is_of(lost)), None)
        if match is None:
            rivals.append(lost)
        else:
            found[lost] = match
            free.remove(match)
    for lost in list(found):
        if any(each.is_of(lost) for each in free):
            rivals.append(lost)
            del found[lost]
    while rivals:
        rival = rivals.pop()
        for lost, match in list(found.items()):
            is_another = lost.input.canonical != rival.input.canonical
            if is_another and match.may_be_of(rival, whole):
                rivals.append(lost)
                del found[lost]
    return found


def is_of_model(prediction: Prediction, wanted: VersionRef) -> Literal["yes", "perhaps", "no"]:
    """Tell whether a prediction is of a model; official models hide their versions."""
    version = prediction.version or ""
    if wanted.deployment is not None and not prediction.deployment:
        return "perhaps"
    if wanted.deployment is not None or prediction.deployment:
        return "yes" if prediction.deployment == str(wanted.deployment) else "no"
    if wanted.version and version == wanted.version:
        return "yes"
    if wanted.version and len(version) == len(wanted.version) == _HEX_LENGTH:
        return "no"
    if wanted.model is not None and prediction.model == str(wanted.model):
        return "yes" if not wanted.version else "perhaps"
    hidden = len(version) != _HEX_LENGTH
    return "perhaps" if hidden or prediction.model is None else "no"


def describe(candidates: Sequence[Candidate], lost: LostCreate) -> str:
    """Return the reason of an undecided create that may have made one of *candidates*."""
    equal = [each for each in candidates if each.is_of(lost)]
    ids = [each.id for each in equal or candidates]
    shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    if equal:
        return f"it may be {shown}, of the same input, which another process may have created"
    return f"it may be {shown}, whose input is removed or is shown differently"
