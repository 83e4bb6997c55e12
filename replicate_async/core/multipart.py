"""The parts of a multipart/form-data body, as values; the transport writes them."""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

Content = bytes | Path | BinaryIO | AsyncIterable[bytes]


class Part(NamedTuple):
    """One part: where its bytes come from, and what is said about them."""

    name: str
    content: Content
    filename: str | None = None
    content_type: str | None = None
    position: int = 0
    """Where an open file stood when it was handed over; each attempt starts there."""

    @property
    def replayable(self) -> bool:
        """Whether the bytes can be had a second time."""
        if isinstance(self.content, bytes | Path):
            return True
        seekable = getattr(self.content, "seekable", None)
        return seekable is not None and bool(seekable())


class Multipart(NamedTuple):
    """A body of parts."""

    parts: tuple[Part, ...]

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent a second time."""
        return all(part.replayable for part in self.parts)
