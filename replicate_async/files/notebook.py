"""How a file shows itself in a notebook; nothing here asks the network."""

from __future__ import annotations

import re
from base64 import b64encode
from html import escape
from typing import Final

LARGEST_SHOWN: Final = 32 * 1024 * 1024
"""Bytes that are put into a notebook; a larger file is a link."""

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
    """Return what a notebook is to show for the file at *url*.

    What has been read shows itself; before that there is an image or a link that the browser may
    follow, for ``https`` alone.
    """
    bundle = {"text/plain": text}
    kind = (content_type or "").partition(";")[0].strip().lower()
    match = _KIND.fullmatch(kind)
    if data is not None and match is not None and len(data) <= LARGEST_SHOWN:
        encoded = b64encode(data).decode()
        if kind in _INLINE:
            bundle[kind] = encoded
        else:
            # Also for image/svg+xml: within an image its scripts do not run.
            source = f"data:{kind};base64,{encoded}"
            bundle["text/html"] = _TAGS[match[1]].format(source, escape(name))
    elif url.startswith("https://"):
        address, shown = escape(url), escape(name)
        if match is not None and match[1] == "image" and data is None:
            shown = f'<img src="{address}" alt="{shown}" referrerpolicy="no-referrer">'
        bundle["text/html"] = f'<a href="{address}" rel="noopener noreferrer">{shown}</a>'
    return bundle
