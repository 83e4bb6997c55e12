"""Media types from file names and first bytes."""

from __future__ import annotations

import mimetypes
import re
from typing import Final

OCTET_STREAM: Final = "application/octet-stream"
HEAD_SIZE: Final = 512
"""Bytes that identify every type in the table below."""

# Types that models use and that not every system knows.
_SUFFIXES: Final = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".heic": "image/heic",
    ".jsonl": "application/jsonl",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": OCTET_STREAM,
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
# mimetypes gives the type of the content; the compressed file is sent.
_COMPRESSIONS: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}
_MAGIC: Final[tuple[tuple[re.Pattern[bytes], str, str], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), kind, suffix)
    for pattern, kind, suffix in (
        (rb"\x89PNG\r\n\x1a\n", "image/png", ".png"),
        (rb"\xff\xd8\xff", "image/jpeg", ".jpg"),
        (rb"GIF8[79]a", "image/gif", ".gif"),
        (rb"RIFF....WEBP", "image/webp", ".webp"),
        (rb"RIFF....WAVE", "audio/wav", ".wav"),
        (rb"RIFF....AVI ", "video/x-msvideo", ".avi"),
        (rb"....ftyp(avif|avis)", "image/avif", ".avif"),
        (rb"....ftyp(heic|heix|mif1|msf1)", "image/heic", ".heic"),
        (rb"....ftypM4A ", "audio/mp4", ".m4a"),
        (rb"....ftypqt  ", "video/quicktime", ".mov"),
        (rb"....ftyp", "video/mp4", ".mp4"),
        (rb"\x1a\x45\xdf\xa3.{0,64}webm", "video/webm", ".webm"),
        (rb"\x1a\x45\xdf\xa3", "video/x-matroska", ".mkv"),
        (rb"OggS", "audio/ogg", ".ogg"),
        (rb"fLaC", "audio/flac", ".flac"),
        (rb"ID3|\xff[\xf2\xf3\xfa\xfb]", "audio/mpeg", ".mp3"),
        (rb"%PDF-", "application/pdf", ".pdf"),
        (rb"PK(\x03\x04|\x05\x06)", "application/zip", ".zip"),
        (rb"\x1f\x8b\x08", "application/gzip", ".gz"),
        (rb"II\*\x00|MM\x00\*", "image/tiff", ".tiff"),
        (rb"BM.{4}\x00{4}", "image/bmp", ".bmp"),
        (rb"glTF", "model/gltf-binary", ".glb"),
    )
)


def type_of_name(name: str) -> str | None:
    """Return the media type for the suffix of *name*."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    # The slash keeps mimetypes from reading the name as a URL.
    kind, compression = mimetypes.guess_type(f"/{name}")
    return kind if compression is None else _COMPRESSIONS.get(compression, OCTET_STREAM)


def type_of_content(start: bytes) -> tuple[str, str] | None:
    """Return the media type of content that begins with *start*, and its usual suffix."""
    for pattern, kind, suffix in _MAGIC:
        if pattern.match(start):
            return kind, suffix
    return None


def describe(name: str | None, start: bytes) -> tuple[str, str]:
    """Return a file name and a media type for content that begins with *start*."""
    kind = type_of_name(name) if name else None
    if kind is not None and name:
        return name, kind
    detected, suffix = type_of_content(start) or (OCTET_STREAM, "")
    return name or f"file{suffix}", detected
