"""A set of digests in 12 bytes each, if there are many; a `set` takes 70 to 100."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

_BUCKETS: Final = 4096


class DigestSet:
    """A set of digests, of which it keeps 64 bits each, in many short sorted arrays.

    Two of a billion digests agree by chance once in 37 times; in a batch of a million, once in 37
    million batches.
    """

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}

    def add(self, digest: bytes) -> bool:
        """Add *digest* (8 bytes or more of a hash); return whether it is new."""
        value = int.from_bytes(digest[:8], "little")
        bucket = self._buckets.setdefault(value % _BUCKETS, array("Q"))
        place = bisect_left(bucket, value)
        if place < len(bucket) and bucket[place] == value:
            return False
        bucket.insert(place, value)
        return True
