"""How long runs of each model took lately, to look at the next ones when they are about to end."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import Final, NamedTuple

__all__ = ["Durations", "Typical"]

_KEPT: Final = 64
_NEEDED: Final = 5
_MOST_MODELS: Final = 1024


class Typical(NamedTuple):
    """Between which seconds most runs of a model end: the middle eight of ten."""

    early: float
    late: float


class _Recent:
    """The latest durations of one model, and what they come to."""

    __slots__ = ("_at", "_seconds", "_typical")

    def __init__(self) -> None:
        self._seconds: array[float] = array("d")
        self._at = 0
        self._typical: Typical | None = None

    def add(self, seconds: float) -> None:
        if len(self._seconds) < _KEPT:
            self._seconds.append(seconds)
        else:
            self._seconds[self._at] = seconds
            self._at = (self._at + 1) % _KEPT
        # A batch adds thousands: the figures of a moment ago will do.
        if self._typical is not None and self._at % 8 == 0:
            self._typical = None

    def typical(self) -> Typical | None:
        count = len(self._seconds)
        if count < _NEEDED:
            return None
        if self._typical is None or count < _KEPT:
            ordered = sorted(self._seconds)
            self._typical = Typical(ordered[count // 10], ordered[count - 1 - count // 10])
        return self._typical


class Durations:
    """The durations of the models that were run last, 64 of each of 1,024 at most."""

    __slots__ = ("_models",)

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Recent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def learn(self, model: str, seconds: float) -> None:
        """Remember that a run of *model* took so many *seconds*; what cannot be is left out."""
        if not 0 <= seconds < 1e6:
            return
        recent = self._models.get(model)
        if recent is None:
            recent = self._models[model] = _Recent()
            if len(self._models) > _MOST_MODELS:
                self._models.popitem(last=False)
        else:
            self._models.move_to_end(model)
        recent.add(seconds)

    def typical(self, model: str) -> Typical | None:
        """Return what a run of *model* takes, or None before five of them have ended."""
        recent = self._models.get(model)
        return None if recent is None else recent.typical()
