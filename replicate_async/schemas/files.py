"""Uploaded files."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, field

from replicate_async.schemas.values import URL, Timestamp

BinaryContent: TypeAlias = Annotated[bytes, Meta(extra_json_schema={"format": "binary"})]


class FileURLs(Struct, frozen=True, kw_only=True):
    """The address of a file."""

    get: URL
    """The URL for the input of a model; a GET of it gives the metadata, not the bytes."""


class Checksums(Struct, frozen=True, kw_only=True):
    """Digests of a file's content, in hexadecimal."""

    sha256: str | None = None
    md5: str | None = None


class File(Struct, frozen=True, kw_only=True):
    """An uploaded file, kept for 24 hours."""

    id: str
    name: str | None = None
    content_type: str | None = None
    size: int | None = None
    """Bytes."""
    etag: str | None = None
    checksums: Checksums | None = None
    metadata: dict[str, Any] | None = None
    created_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    urls: FileURLs


class CreateFile(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The parts of files.create, which is sent as multipart/form-data."""

    content: BinaryContent
    filename: Annotated[str, Meta(max_length=255)] | None = None
    """At most 255 bytes of UTF-8."""
    type: str = "application/octet-stream"
    metadata: Annotated[dict[str, Any], Meta(extra_json_schema={"default": {}})] = field(
        default_factory=dict[str, Any]
    )


class DownloadFile(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The query of files.download."""

    owner: str
    """The username of the account that uploaded the file."""
    expiry: Annotated[int, Meta(extra_json_schema={"format": "int64"})]
    """When the signature expires, in Unix time."""
    signature: str
    """HMAC-SHA256 of "{owner} {id} {expiry}", in base64."""
