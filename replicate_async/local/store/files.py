"""Files: uploads by id, outputs by a capability in their URL; both expire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from replicate_async.files.names import safe_name
from replicate_async.files.threads import run_in_thread
from replicate_async.local import ids
from replicate_async.local.clock import Clock, timestamp
from replicate_async.local.http.errors import file_not_found
from replicate_async.local.store.blobs import IN_MEMORY, Content, Disk, Incoming, in_memory

if TYPE_CHECKING:
    from replicate_async.local.store.store import Account

OUTPUTS = "/pbxt"


@dataclass(frozen=True)
class StoredFile:
    """An upload."""

    id: str
    owner: str
    name: str
    content_type: str
    content: Content
    metadata: Mapping[str, Any]
    created: float
    expires: float

    def view(self, base: str, digits: int) -> dict[str, Any]:
        """Return the file as the API shows it."""
        content = self.content
        return {
            "id": self.id,
            "name": self.name,
            "content_type": self.content_type,
            "size": content.size,
            "etag": content.md5,
            "checksums": {"sha256": content.sha256, "md5": content.md5},
            "metadata": self.metadata,
            "created_at": timestamp(self.created, digits),
            "expires_at": timestamp(self.expires, digits),
            "urls": {"get": f"{base}/v1/files/{self.id}"},
        }


@dataclass(frozen=True)
class Delivery:
    """An output file of a run; whoever knows its path may read it."""

    path: str
    name: str
    content: Content
    content_type: str


@dataclass
class FileStore:
    """The files of a server; uploads expire, outputs go with the data of their run."""

    clock: Clock
    expiry: float
    capacity: int
    signing_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    uploads: dict[str, StoredFile] = field(default_factory=dict[str, StoredFile])
    deliveries: dict[str, Delivery] = field(default_factory=dict[str, Delivery])
    """Output files by their path, which is not percent-encoded."""
    _disk: Disk = field(default_factory=Disk)
    _uploaded: int = 0
    _delivered: int = 0

    def receive(self) -> Incoming:
        """Return what takes the bytes of a file, and is left with what `upload` keeps."""
        return Incoming(self._disk)

    async def keep(self, source: bytes | Path) -> Content:
        """Return *source* as content: a copy where it is a path or large."""
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
        content: Content,
        *,
        name: str,
        content_type: str,
        metadata: Mapping[str, Any],
    ) -> StoredFile:
        """Keep an upload until it expires, and drop the oldest ones if there is no room for it."""
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
        self._uploaded += content.size
        self.clock.call_at(stored.expires, lambda: self.remove(stored.id))
        while self._uploaded > self.capacity and len(self.uploads) > 1:
            self.remove(next(iter(self.uploads)))
        return stored

    def remove(self, id: str) -> None:
        """Drop an upload."""
        stored = self.uploads.pop(id, None)
        if stored is not None:
            self._uploaded -= stored.content.size
            stored.content.discard()

    def uploads_of(self, account: Account) -> list[StoredFile]:
        """Return the uploads of *account*, oldest first."""
        return [stored for stored in self.uploads.values() if stored.owner == account.username]

    def find(self, id: str, owner: str) -> StoredFile:
        """Return the upload *id* of *owner*; raises the 404 `Problem`."""
        stored = self.uploads.get(id)
        if stored is None or stored.owner != owner or stored.expires <= self.clock.now():
            raise file_not_found()
        return stored

    def signature(self, owner: str, id: str, expiry: int) -> str:
        """Return the signature that a download of *id* must carry until *expiry*, Unix time."""
        message = f"{owner} {id} {expiry}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(self.signing_secret, message, hashlib.sha256)
        return base64.b64encode(digest).decode()

    def deliver(self, content: Content, *, name: str, content_type: str) -> Delivery:
        """Keep an output file, and drop the oldest ones if there is no room for it."""
        name = safe_name(name)
        delivery = Delivery(f"{OUTPUTS}/{ids.capability()}/{name}", name, content, content_type)
        self.deliveries[delivery.path] = delivery
        self._delivered += content.size
        while self._delivered > self.capacity and len(self.deliveries) > 1:
            self.withdraw(next(iter(self.deliveries)))
        return delivery

    def delivery_at(self, url: str) -> Delivery | None:
        """Return the output file that *url*, or the path in it, names."""
        _, found, rest = url.partition(OUTPUTS)
        return self.deliveries.get(unquote(found + rest))

    def withdraw(self, path: str) -> None:
        """Drop an output file."""
        delivery = self.deliveries.pop(path, None)
        if delivery is not None:
            self._delivered -= delivery.content.size
            delivery.content.discard()

    async def close(self) -> None:
        """Drop everything."""
        self.uploads.clear()
        self.deliveries.clear()
        await run_in_thread(self._disk.close)


def url_of(delivery: Delivery, base: str) -> str:
    """Return the URL of an output file below *base*, scheme and host."""
    return base + quote(delivery.path)
