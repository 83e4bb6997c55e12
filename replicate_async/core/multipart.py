"""Multipart bodies as values; the transport writes them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol


class Reading(Protocol):
    """Content that is being read, once and from its start."""

    @property
    def size(self) -> int | None:
        """How many bytes it gives; None when that is not known before the end."""
        ...

    async def read(self) -> bytes | memoryview:
        """Return the next piece, of any length; an empty one is the end."""
        ...


class Content(Protocol):
    """The source of a part's bytes, which each attempt reads from the start."""

    @property
    def replayable(self) -> bool:
        """Whether it can be read from its start, also after it was read before."""
        ...

    def open(self) -> AbstractAsyncContextManager[Reading]:
        """Open it for reading."""
        ...


class Part(NamedTuple):
    """One part of a multipart body."""

    name: str
    content: bytes | Content
    filename: str | None = None
    content_type: str | None = None

    @property
    def replayable(self) -> bool:
        """Whether the part can be sent a second time."""
        return isinstance(self.content, bytes) or self.content.replayable


class Multipart(NamedTuple):
    """A multipart/form-data body."""

    parts: tuple[Part, ...]

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent a second time."""
        return all(part.replayable for part in self.parts)
