"""Uploads, by id, and output files, by a capability in their path; both expire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from replicate_async.files.names import safe_name
from replicate_async.files.threads import run_in_thread
from replicate_async.local import ids
from replicate_async.local.clock import Clock
from replicate_async.local.store.blobs import IN_MEMORY, Blob, BlobWriter, in_memory
from replicate_async.local.temp_folder import TempFolder

OUTPUTS = "/pbxt"


@dataclass(frozen=True)
class StoredFile:
    """An upload."""

    id: str
    owner: str
    name: str
    content_type: str
    content: Blob
    metadata: Mapping[str, Any]
    created: float
    expires: float


@dataclass(frozen=True)
class OutputFileRecord:
    """An output file of a run; its path is the capability to read it."""

    path: str
    name: str
    content: Blob
    content_type: str


@dataclass
class FileStore:
    """The files of a server; output files are removed with the data of their run."""

    clock: Clock
    expiry: float
    capacity: int
    signing_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    uploads: dict[str, StoredFile] = field(default_factory=dict[str, StoredFile])
    outputs: dict[str, OutputFileRecord] = field(default_factory=dict[str, OutputFileRecord])
    """Output files by their path, which is not percent-encoded."""
    _disk: TempFolder = field(default_factory=TempFolder)
    _upload_bytes: int = 0
    _output_bytes: int = 0

    def receive(self) -> BlobWriter:
        """Return a writer for the blob of an upload."""
        return BlobWriter(self._disk)

    async def keep(self, source: bytes | Path) -> Blob:
        """Return the blob of *source*; a file at a path is copied."""
        if isinstance(source, bytes) and len(source) <= IN_MEMORY:
            return in_memory(source)
        async with self.receive() as incoming:
            if isinstance(source, Path):
                await incoming.copy(source)
            else:
                await incoming.write(source)
            return await incoming.finish()

    def upload(
        self,
        owner: str,
        content: Blob,
        *,
        name: str,
        content_type: str,
        metadata: Mapping[str, Any],
    ) -> StoredFile:
        """Keep an upload until it expires, and drop the oldest ones above the capacity."""
        now = self.clock.stamp()
        stored = StoredFile(
            id=ids.file_id(),
            owner=owner,
            name=name,
            content_type=content_type,
            content=content,
            metadata=metadata,
            created=now,
            expires=now + self.expiry,
        )
        self.uploads[stored.id] = stored
        self._upload_bytes += content.size
        self.clock.call_at(stored.expires, lambda: self.remove(stored.id))
        while self._upload_bytes > self.capacity and len(self.uploads) > 1:
            self.remove(next(iter(self.uploads)))
        return stored

    def remove(self, id: str) -> None:
        """Drop an upload."""
        stored = self.uploads.pop(id, None)
        if stored is not None:
            self._upload_bytes -= stored.content.size
            stored.content.discard()

    def uploads_of(self, owner: str) -> list[StoredFile]:
        """Return the uploads of *owner*, oldest first."""
        return [stored for stored in self.uploads.values() if stored.owner == owner]

    def find(self, id: str, owner: str) -> StoredFile | None:
        """Return the upload *id* of *owner* until it expires."""
        stored = self.uploads.get(id)
        if stored is None or stored.owner != owner or stored.expires <= self.clock.now():
            return None
        return stored

    def signature(self, owner: str, id: str, expiry: int) -> str:
        """Return the signature that a download of *id* must carry until *expiry*, Unix time."""
        message = f"{owner} {id} {expiry}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(self.signing_secret, message, hashlib.sha256)
        return base64.b64encode(digest).decode()

    def add_output(self, content: Blob, *, name: str, content_type: str) -> OutputFileRecord:
        """Keep an output file, and drop the oldest ones above the capacity."""
        name = safe_name(name)
        output = OutputFileRecord(
            f"{OUTPUTS}/{ids.capability()}/{name}", name, content, content_type
        )
        self.outputs[output.path] = output
        self._output_bytes += content.size
        while self._output_bytes > self.capacity and len(self.outputs) > 1:
            self.delete_output(next(iter(self.outputs)))
        return output

    def output_at(self, url: str) -> OutputFileRecord | None:
        """Return the output file at *url*."""
        _, found, rest = url.partition(OUTPUTS)
        return self.outputs.get(unquote(found + rest))

    def delete_output(self, path: str) -> None:
        """Drop an output file."""
        output = self.outputs.pop(path, None)
        if output is not None:
            self._output_bytes -= output.content.size
            output.content.discard()

    async def close(self) -> None:
        """Drop everything."""
        self.uploads.clear()
        self.outputs.clear()
        await run_in_thread(self._disk.close)


def url_of(output: OutputFileRecord, base: str) -> str:
    """Return the URL of an output file below *base*, scheme and host."""
    return base + quote(output.path)
