"""How long runs of each model took lately, by which polls and held creates are timed."""

from __future__ import annotations

from collections import OrderedDict, deque
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

    __slots__ = ("_added", "_seconds", "typical")

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self._added = 0
        self.typical: Typical | None = None

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._added += 1
        # A batch adds thousands: figures that are 8 runs old are good enough.
        if self._added >= _NEEDED and (self._added < _KEPT or self._added % 8 == 0):
            ordered, tenth = sorted(self._seconds), len(self._seconds) // 10
            self.typical = Typical(ordered[tenth], ordered[-1 - tenth])


class Durations:
    """The last 64 durations of each model and version, of the 4,096 that ended last at most."""

    __slots__ = ("_recent",)

    def __init__(self) -> None:
        self._recent: OrderedDict[_Key, _Recent] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def record(
        self,
        model: str | None,
        version: str | None,
        *,
        created: float | None,
        started: float | None,
        ended: float,
    ) -> None:
        """Record a run that succeeded, by the times of the API."""
        if created is not None:
            # A create may name the model, the version or both.
            for key in {(model, version, True), (model, None, True), (None, version, True)}:
                self._add(key, ended - created)
        if started is not None:
            self._add((model, version, False), ended - started)

    def _add(self, key: _Key, seconds: float) -> None:
        if not 0 <= seconds < _LONGEST:
            return
        recent = self._recent.get(key)
        if recent is None:
            recent = self._recent[key] = _Recent()
            if len(self._recent) > _MOST:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        recent.add(seconds)

    def typical(self, model: str | None, version: str | None, *, queued: bool) -> Typical | None:
        """Return what is typical, None before five runs have ended.

        *model* or *version* alone are enough for durations with the time in the queue (*queued*).
        """
        recent = self._recent.get((model, version, queued))
        return None if recent is None else recent.typical
