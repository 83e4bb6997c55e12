"""Values as the text of one cell of a table."""

from __future__ import annotations

from typing import cast

import msgspec

__all__ = ["as_text"]


def as_text(value: object, *, joined: bool = False) -> str | None:
    """Return an output as the text of one cell; None stays None.

    A value that is no text is JSON. With *joined*, a list of strings is one text.
    """
    if value is None or isinstance(value, str):
        return value
    if joined and (texts := _texts(value)) is not None:
        return "".join(texts)
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError):
        return str(value)


def _texts(value: object) -> list[str] | None:
    """Return a list of strings; None for another value."""
    parts = cast("list[object]", value) if isinstance(value, list) else [None]
    texts = [part for part in parts if isinstance(part, str)]
    return texts if len(texts) == len(parts) else None
