"""Names for files, made out of what strangers call them."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

FALLBACK: Final = "output"

# What Windows does not take, what separates folders anywhere, and what opens an alternate stream.
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*]')
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ .]*(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
# Controls, marks that turn the text around or cannot be seen, lone surrogates, line separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LONGEST: Final = 200
_LONGEST_SUFFIX: Final = 16
_LONGEST_STEM: Final = 120
"""Bytes of a key in the name of its files; room is left for a digest, a number and an extension."""
# Keys that end like a name that is made of another key: in a number or in a digest.
_MADE: Final = re.compile(r"(\.[0-9]+|-[0-9a-f]{16})\Z")
_PARAMETER: Final = re.compile(
    r';\s*([A-Za-z0-9!#$%&\'+.^_`|~*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL
)
_LONGEST_HEADER: Final = 4096

# The first of several that mimetypes may give depends on the machine.
_SUFFIXES: Final = {
    "application/json": ".json",
    "application/octet-stream": "",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/plain": ".txt",
    "video/mp4": ".mp4",
}


def safe_name(raw: str) -> str:
    """Return *raw* as one plain file name that means the same to every system.

    The last part of a path is taken. Nothing is left of folders, drives, devices, hidden files,
    options and characters that nobody sees; at most 200 bytes of UTF-8 are, the extension among
    them.
    """
    text = unicodedata.normalize("NFC", raw)
    kinds = [(char, unicodedata.category(char)) for char in text]
    seen = "".join(" " if kind == "Zs" else char for char, kind in kinds if kind not in _UNSEEN)
    parts = [part for part in re.split(r"[/\\]", seen) if part.strip(" .")]
    name = _FORBIDDEN.sub("_", parts[-1] if parts else "")
    # A leading dot hides a file, a leading dash or tilde means something to a shell.
    name = re.sub(r"^[-~]+", "_", name.strip().lstrip(". ")).rstrip(". ")
    if _DEVICE.fullmatch(name):
        name = f"_{name}"
    return shortened(name) or FALLBACK


def shortened(name: str, extra: str = "") -> str:
    """Return *name*, cut to fit, with *extra* before its extension."""
    stem, suffix = split(name)
    room = _LONGEST - len(suffix.encode()) - len(extra.encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ")
    return f"{stem}{extra}{suffix}"


def split(name: str) -> tuple[str, str]:
    """Return the stem and the extension of *name*, the latter with its dot, or empty."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) >= _LONGEST_SUFFIX or not suffix.isalnum():
        return name, ""
    return stem, dot + suffix


def numbered(name: str, number: int) -> str:
    """Return *name* for the case that number - 1 others are there: ``name (2).webp``."""
    return name if number < 2 else shortened(name, f" ({number})")


def item_name(key: str, number: int, suffix: str) -> str:
    """Return the name of a file that the item *key* of a batch made, its *number* from 1.

    No two keys have the same name, also where upper and lower case, or NFC and NFD, are one. A key
    that is a plain name in lower case stays as it is; any other is made one and gets its digest.
    """
    stem = safe_name(key)
    clear = suffix or not split(key)[1]  # else "a.png" would be "a" with an extension
    if (
        not clear
        or stem != key
        or _folded(key) != key
        or _MADE.search(key)
        or len(key.encode()) > _LONGEST_STEM
    ):
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        readable = safe_name(re.sub(r"[/\\]", "_", key)).encode()[:_LONGEST_STEM]
        stem = f"{readable.decode('utf-8', 'ignore').rstrip('. ')}-{digest}"
    return f"{stem}{'' if number < 2 else f'.{number}'}{suffix}"


def _folded(text: str) -> str:
    """Return *text* without what file systems may not tell apart: its case and its composition."""
    lower = unicodedata.normalize("NFD", text).upper().casefold()
    return unicodedata.normalize("NFC", lower)


def with_suffix(name: str, content_type: str | None) -> str:
    """Return *name*, with the extension of its media type if it has none."""
    if split(name)[1] or not content_type:
        return name
    kind = content_type.partition(";")[0].strip().lower()
    suffix = _SUFFIXES.get(kind)
    if suffix is None:
        suffix = mimetypes.guess_extension(kind) or ""
    return shortened(name) + suffix


def name_in_url(url: str) -> str:
    """Return what the path of *url* calls the file, unsafe as it is; empty if it has no name."""
    _, _, rest = url.partition("://")
    path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")[2]
    return unquote(path.rstrip("/").rpartition("/")[2], errors="replace")


def name_in_disposition(header: str) -> str:
    """Return what a Content-Disposition calls the file, unsafe as it is; empty if it does not.

    ``filename*`` (RFC 5987) goes before ``filename`` (RFC 6266), unless it is malformed.
    """
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(f";{header[:_LONGEST_HEADER].partition(';')[2]}"):
        found.setdefault(name.lower(), value.strip())
    extended = found.get("filename*", "")
    charset, first, rest = extended.partition("'")
    _, second, encoded = rest.partition("'")
    if first and second and charset.lower() in {"utf-8", "iso-8859-1"}:
        try:
            return unquote(encoded, encoding=charset, errors="strict")
        except UnicodeDecodeError:
            pass
    plain = found.get("filename", "")
    if plain.startswith('"'):
        plain = re.sub(r"\\(.)", r"\1", plain[1:-1], flags=re.DOTALL)
    return _as_utf8(plain)


def _as_utf8(text: str) -> str:
    # Bytes that are not UTF-8 arrive as surrogates; they were Latin-1, most likely.
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")
