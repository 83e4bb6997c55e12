"""A cache of the latest versions of community models."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["LatestVersions"]

_LIFETIME: Final = 300.0
"""Seconds; owners replace and delete versions while a process runs for weeks."""

_MOST_MODELS: Final = 1024


class LatestVersions:
    """A cache of version ids by "owner/name"; an entry expires after 5 minutes of *clock*."""

    __slots__ = ("_found", "clock")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock: Callable[[], float] = clock
        self._found: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def get(self, model: str) -> str | None:
        """Return the cached version of *model*, None if there is none or it has expired."""
        found = self._found.get(model)
        if found is None:
            return None
        version, expires = found
        if self.clock() >= expires:
            del self._found[model]
            return None
        return version

    def put(self, model: str, version: str) -> None:
        """Cache *version* as the latest of *model*."""
        self._found.pop(model, None)
        if len(self._found) >= _MOST_MODELS:
            del self._found[next(iter(self._found))]  # the oldest: entries expire in order
        self._found[model] = (version, self.clock() + _LIFETIME)

    def drop(self, model: str, version: str) -> None:
        """Remove *version* of *model*; another version that was cached meanwhile stays."""
        found = self._found.get(model)
        if found is not None and found[0] == version:
            del self._found[model]
