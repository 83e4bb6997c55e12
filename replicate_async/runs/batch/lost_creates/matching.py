"""Matching a lost create with the predictions in the list.

A prediction of the same model and input, made in the window of the create, matches. A list may show
an input otherwise than it was sent (see `comparison`): such a prediction may be the one, and rules
out that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from replicate_async.refs import VersionRef
from replicate_async.runs.batch.lost_creates.comparison import comparable, differs, says_more
from replicate_async.runs.batch.lost_creates.faithful import FaithfulFields
from replicate_async.runs.batch.lost_creates.sent_input import canonical, is_readable, normalize
from replicate_async.schemas import Prediction

_HEX_LENGTH: Final = 64

Window = tuple[float, float]
"""Two times of the API's clock, between which a create happened if it did."""


class ComparedInput:
    """An input in the forms in which it is compared."""

    __slots__ = ("canonical", "comparable", "is_readable", "normalized")

    def __init__(self, values: object) -> None:
        self.normalized: object = normalize(values)
        self.canonical: bytes = canonical(self.normalized)
        self.comparable: object = comparable(self.normalized)
        self.is_readable: bool = is_readable(self.normalized)


@dataclass(eq=False, slots=True)
class Candidate:
    """A prediction in the list that may be the result of a lost create."""

    id: str
    created_at: float | None
    input: ComparedInput
    same_model: bool
    """Whether it certainly is of the batch's model."""
    readable: bool
    """Whether its input is shown."""
    ended: Prediction | None
    """The prediction, if it has ended, is of a wanted input and complete."""

    def is_of(self, sent: ComparedInput) -> bool:
        """Whether it certainly is of the input *sent* and of the model."""
        is_certain = self.readable and self.same_model and sent.is_readable
        return is_certain and sent.canonical == self.input.canonical

    def may_be_of(self, sent: ComparedInput) -> bool:
        """Whether it is not certainly of another input than *sent*."""
        return not self.readable or not differs(sent.comparable, self.input.comparable)

    def may_show(self, sent: ComparedInput, faithful: FaithfulFields) -> bool:
        """Whether it may be *sent* in a list that cuts texts and rounds numbers."""
        ours, shown = sent.comparable, self.input.comparable
        return (
            not differs(ours, shown)
            and not says_more(ours, shown)
            and not faithful.rule_out(sent.normalized, self.input.normalized)
        )

    def is_within(self, window: Window) -> bool:
        """Whether it was created in *window*, as far as is known."""
        return self.created_at is None or window[0] <= self.created_at <= window[1]


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


def describe(candidates: Sequence[Candidate], sent: ComparedInput) -> str:
    """Return the reason of an undecided create of *sent* that may be one of *candidates*."""
    equal = [each for each in candidates if each.is_of(sent)]
    ids = [each.id for each in equal or candidates]
    shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    if equal:
        return f"it may be {shown}, of the same input, which another process may have created"
    return f"it may be {shown}, whose input is removed or is shown differently"
