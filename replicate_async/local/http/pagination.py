"""Pages with cursors, as Django REST framework makes them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlencode

from yarl import URL

from replicate_async.local.clock import timestamp
from replicate_async.local.http.errors import django

T = TypeVar("T")


class Cursor(NamedTuple):
    """A place in a listing: the position of an item that borders on the page."""

    position: float
    reverse: bool = False

    def encode(self) -> str:
        """Return the opaque text that clients pass back."""
        fields = {"r": "1"} if self.reverse else {}
        moment = timestamp(self.position).replace("T", " ").replace("Z", "+00:00")
        return base64.b64encode(urlencode({**fields, "p": moment}).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read what `encode` wrote; raises the 404 `Problem` for anything else."""
        try:
            fields = parse_qs(base64.b64decode(text, validate=True).decode())
            moment = datetime.fromisoformat(fields["p"][0])
            return cls(round(moment.timestamp(), 6), fields.get("r") == ["1"])
        except (binascii.Error, ValueError, KeyError, TypeError, OverflowError):
            raise django(404, "Invalid cursor") from None


def paginate(
    items: Sequence[T],
    url: URL,
    *,
    size: int,
    position: Callable[[T], float],
    view: Callable[[T], Any],
    ascending: bool = False,
) -> dict[str, Any]:
    """Return one page of *items*, which have distinct positions, for the request *url*.

    A cursor is a time, not a count, so added or removed items do not shift the pages.
    """
    ordered = sorted(items, key=position, reverse=not ascending)
    text = url.query.get("cursor", "")
    cursor = Cursor.decode(text) if text else None
    page, more, fewer = _cut(ordered, cursor, size, position, ascending=ascending)
    following = Cursor(position(page[-1])) if page and more else None
    preceding = Cursor(position(page[0]), reverse=True) if page and fewer else None
    return {
        "next": _link(url, following),
        "previous": _link(url, preceding),
        "results": [view(item) for item in page],
    }


def _cut(
    ordered: Sequence[T],
    cursor: Cursor | None,
    size: int,
    position: Callable[[T], float],
    *,
    ascending: bool,
) -> tuple[Sequence[T], bool, bool]:
    if cursor is None:
        return ordered[:size], len(ordered) > size, False
    places = [position(item) for item in ordered]
    if cursor.reverse == ascending:  # the page lies on the smaller side of the position
        inside = [index for index, place in enumerate(places) if place < cursor.position]
    else:
        inside = [index for index, place in enumerate(places) if place > cursor.position]
    chosen = inside[-size:] if cursor.reverse else inside[:size]
    if not chosen:
        return [], False, False
    page = [ordered[index] for index in chosen]
    return page, chosen[-1] + 1 < len(ordered), chosen[0] > 0


def _link(url: URL, cursor: Cursor | None) -> str | None:
    if cursor is None:
        return None
    query = [(name, value) for name, value in url.query.items() if name != "cursor"]
    return f"{url.with_query(None)}?{urlencode([*query, ('cursor', cursor.encode())])}"
