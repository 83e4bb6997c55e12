"""One page of a listing."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a listing, with the links of the API."""

    next: str | None = None
    previous: str | None = None
    results: list[T]

    def __repr__(self) -> str:
        more = "more follow" if self.next_url else "the last page"
        return f"<Page of {len(self.results)}, {more}>"

    @property
    def next_url(self) -> str | None:
        """The URL of the next page, or None on the last one."""
        return _link(self.next)

    @property
    def previous_url(self) -> str | None:
        """The URL of the previous page, or None on the first one."""
        return _link(self.previous)


def _link(url: str | None) -> str | None:
    # The example in the API's document ends a listing with the text "null".
    return None if url in {"", "null"} else url
