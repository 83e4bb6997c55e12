"""How long runs of each model took lately, by which polls and held creates are timed."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Durations", "Typical"]

_KEPT: Final = 64
_NEEDED: Final = 5
_MOST: Final = 4096
_LONGEST: Final = 1e6

_Key: TypeAlias = tuple[str | None, str | None, bool]


class Typical(NamedTuple):
    """The seconds between which the middle eighty percent of the runs ended."""

    early: float
    late: float


class _Recent:
    """The latest durations of one model, and what is typical of them."""

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
        # A batch adds thousands: figures that are 8 runs old are good enough.
        if len(self._seconds) < _KEPT or self._at % 8 == 0:
            self._typical = None

    def typical(self) -> Typical | None:
        count = len(self._seconds)
        if count < _NEEDED:
            return None
        if self._typical is None:
            ordered = sorted(self._seconds)
            self._typical = Typical(ordered[count // 10], ordered[count - 1 - count // 10])
        return self._typical


class Durations:
    """The last 64 durations of each model and version, of the 4,096 that ended last at most."""

    __slots__ = ("_recent",)

    def __init__(self) -> None:
        self._recent: OrderedDict[_Key, _Recent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def record(
        self, model: str | None, version: str | None, *, total: float | None, work: float | None
    ) -> None:
        """Record a run that succeeded.

        *total* is the seconds from its creation to its end, *work* those from its start.
        """
        if total is not None:
            # A create may name the model, the version or both.
            for key in {(model, version), (model, None), (None, version)}:
                self._add((*key, True), total)
        if work is not None:
            self._add((model, version, False), work)

    def _add(self, key: _Key, seconds: float) -> None:
        if not 0 <= seconds < _LONGEST:
            return
        recent = self._recent.get(key)
        if recent is None:
            recent = self._recent[key] = _Recent()
            if len(self._recent) > _MOST:
                self._recent.popitem(last=False)
        else:
            self._recent.move_to_end(key)
        recent.add(seconds)

    def typical(self, model: str | None, version: str | None, *, queued: bool) -> Typical | None:
        """Return what is typical, None before five runs have ended.

        *model* or *version* alone are enough for durations with the time in the queue (*queued*).
        """
        recent = self._recent.get((model, version, queued))
        return None if recent is None else recent.typical()
