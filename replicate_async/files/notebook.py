"""The representation of a file in a notebook; nothing is downloaded for it."""

from __future__ import annotations

import re
from base64 import b64encode
from html import escape
from typing import Final

LARGEST_SHOWN: Final = 32 * 1024 * 1024
"""Bytes of a file that is embedded in a notebook; a larger one is a link."""

_INLINE: Final = frozenset({"image/png", "image/jpeg", "image/gif"})
_KIND: Final = re.compile(r"(image|audio|video)/[a-z0-9.+-]+", re.ASCII)
_TAGS: Final = {
    "image": '<img src="{}" alt="{}">',
    "audio": '<audio controls src="{}" title="{}"></audio>',
    "video": '<video controls src="{}" title="{}"></video>',
}


def mimebundle(
    url: str, name: str, content_type: str | None, data: bytes | None, text: str
) -> dict[str, str]:
    """Return the mime bundle for the file at *url*.

    A file that was read is embedded. Otherwise the bundle has a link or an image, for ``https``
    URLs only, which the browser loads.
    """
    bundle = {"text/plain": text}
    kind = (content_type or "").partition(";")[0].strip().lower()
    match = _KIND.fullmatch(kind)
    if data is not None and match is not None and len(data) <= LARGEST_SHOWN:
        encoded = b64encode(data).decode()
        if kind in _INLINE:
            bundle[kind] = encoded
        else:
            # Scripts in image/svg+xml do not run within an <img>.
            source = f"data:{kind};base64,{encoded}"
            bundle["text/html"] = _TAGS[match[1]].format(source, escape(name))
    elif url.startswith("https://"):
        address, shown = escape(url), escape(name)
        if match is not None and match[1] == "image" and data is None:
            shown = f'<img src="{address}" alt="{shown}" referrerpolicy="no-referrer">'
        bundle["text/html"] = f'<a href="{address}" rel="noopener noreferrer">{shown}</a>'
    return bundle
