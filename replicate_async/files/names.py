"""Safe file names, made from names that hosts and callers give."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

FALLBACK: Final = "output"

# Characters that Windows forbids, separators of folders, and the mark of alternate streams.
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*]')
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ .]*(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
# Control, format and unassigned characters, lone surrogates, line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LONGEST: Final = 200
_LONGEST_SUFFIX: Final = 16
_LONGEST_STEM: Final = 120
"""Bytes of a key in the names of its files, which leaves room for digest, number and suffix."""
# Keys that end like a name made from another key: in a number or in a digest.
_MADE: Final = re.compile(r"(\.[0-9]+|-[0-9a-f]{16})\Z")
_PARAMETER: Final = re.compile(
    r';\s*([A-Za-z0-9!#$%&\'+.^_`|~*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL
)
_LONGEST_HEADER: Final = 4096

# Where mimetypes knows several suffixes, its choice depends on the machine.
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
    """Return *raw* as a plain file name that is safe on every system.

    It is the last part of a path, without folders, drives, device names, leading dots and dashes,
    and invisible characters, and has at most 200 bytes of UTF-8 with its extension.
    """
    text = unicodedata.normalize("NFC", raw)
    kinds = [(char, unicodedata.category(char)) for char in text]
    seen = "".join(" " if kind == "Zs" else char for char, kind in kinds if kind not in _UNSEEN)
    parts = [part for part in re.split(r"[/\\]", seen) if part.strip(" .")]
    name = _FORBIDDEN.sub("_", parts[-1] if parts else "")
    # A leading dot hides a file; a shell interprets a leading dash or tilde.
    name = re.sub(r"^[-~]+", "_", name.strip().lstrip(". ")).rstrip(". ")
    if _DEVICE.fullmatch(name):
        name = f"_{name}"
    return shortened(name) or FALLBACK


def shortened(name: str, extra: str = "", *, longest: int = _LONGEST) -> str:
    """Return *name* with *extra* before its extension, cut to *longest* bytes of UTF-8."""
    stem, suffix = split(name)
    room = longest - len(suffix.encode()) - len(extra.encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ")
    return f"{stem}{extra}{suffix}"


def split(name: str) -> tuple[str, str]:
    """Return the stem and the extension of *name*; the extension has its dot, or is empty."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) >= _LONGEST_SUFFIX or not suffix.isalnum():
        return name, ""
    return stem, dot + suffix


def numbered(name: str, number: int) -> str:
    """Return *name* with a number from 2 on: ``name (2).webp``."""
    return name if number < 2 else shortened(name, f" ({number})")


def item_name(key: str, number: int, suffix: str) -> str:
    """Return the name of output file *number* (from 1) of the batch item *key*.

    Different keys have different names, also on file systems that ignore case or Unicode
    composition. A key that is a safe name in lower case is kept; any other gets a digest.
    """
    stem = safe_name(key)
    clear = suffix or not split(key)[1]  # "a.png" could be the file of "a"
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
    """Return *text* without the case and composition, which file systems may ignore."""
    lower = unicodedata.normalize("NFD", text).upper().casefold()
    return unicodedata.normalize("NFC", lower)


def with_suffix(name: str, content_type: str | None) -> str:
    """Return *name*, with the extension of the media type if it has none."""
    if split(name)[1] or not content_type:
        return name
    kind = content_type.partition(";")[0].strip().lower()
    suffix = _SUFFIXES.get(kind)
    if suffix is None:
        suffix = mimetypes.guess_extension(kind) or ""
    return shortened(name) + suffix


def name_in_url(url: str) -> str:
    """Return the file name in the path of *url*, not made safe; may be empty."""
    _, _, rest = url.partition("://")
    path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")[2]
    return unquote(path.rstrip("/").rpartition("/")[2], errors="replace")


def name_in_disposition(header: str) -> str:
    """Return the file name in a Content-Disposition header, not made safe; may be empty.

    ``filename*`` (RFC 5987) is preferred to ``filename`` (RFC 6266), unless it is malformed.
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
    # Bytes that are not UTF-8 arrive as surrogates; most likely they are Latin-1.
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")
