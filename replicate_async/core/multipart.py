"""The parts of a multipart/form-data body, as values; the transport writes them."""

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
    """Bytes that come from somewhere, and that each attempt reads anew."""

    @property
    def replayable(self) -> bool:
        """Whether it can be read from its start, again if it was read before."""
        ...

    def open(self) -> AbstractAsyncContextManager[Reading]:
        """Begin to read it."""
        ...


class Part(NamedTuple):
    """One part: where its bytes come from, and what is said about them."""

    name: str
    content: bytes | Content
    filename: str | None = None
    content_type: str | None = None

    @property
    def replayable(self) -> bool:
        """Whether the bytes can be had a second time."""
        return isinstance(self.content, bytes) or self.content.replayable


class Multipart(NamedTuple):
    """A body of parts."""

    parts: tuple[Part, ...]

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent a second time."""
        return all(part.replayable for part in self.parts)
