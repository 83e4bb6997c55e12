"""Files: uploads by id, outputs by a capability in their URL, and how a run fetches either."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_async.local import ids
from replicate_async.local.clock import Clock, timestamp
from replicate_async.local.problems import file_not_found

if TYPE_CHECKING:
    from replicate_async.local.state import Account

OUTPUTS = "/pbxt"


@dataclass(frozen=True)
class StoredFile:
    """An upload."""

    id: str
    owner: str
    name: str
    content_type: str
    content: bytes
    metadata: Mapping[str, Any]
    created: float
    expires: float
    md5: str
    sha256: str

    def view(self, base: str, digits: int) -> dict[str, Any]:
        """Return the file as the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "content_type": self.content_type,
            "size": len(self.content),
            "etag": self.md5,
            "checksums": {"sha256": self.sha256, "md5": self.md5},
            "metadata": self.metadata,
            "created_at": timestamp(self.created, digits),
            "expires_at": timestamp(self.expires, digits),
            "urls": {"get": f"{base}/v1/files/{self.id}"},
        }


@dataclass(frozen=True)
class Delivery:
    """An output file of a run; whoever knows its path may read it."""

    path: str
    content: bytes
    content_type: str
    etag: str
    created: float


@dataclass
class FileStore:
    """The files of a server, in memory; uploads expire, outputs go with the data of their run."""

    clock: Clock
    expiry: float
    capacity: int
    signing_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    uploads: dict[str, StoredFile] = field(default_factory=dict[str, StoredFile])
    deliveries: dict[str, Delivery] = field(default_factory=dict[str, Delivery])
    _uploaded: int = 0
    _delivered: int = 0

    def upload(
        self,
        owner: str,
        content: bytes,
        *,
        name: str,
        content_type: str,
        metadata: Mapping[str, Any],
    ) -> StoredFile:
        """Keep an upload until it expires."""
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
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        self.uploads[stored.id] = stored
        self._uploaded += len(content)
        self.clock.call_at(stored.expires, lambda: self.remove(stored.id))
        while self._uploaded > self.capacity and len(self.uploads) > 1:
            self.remove(next(iter(self.uploads)))
        return stored

    def remove(self, id: str) -> None:
        """Drop an upload."""
        stored = self.uploads.pop(id, None)
        if stored is not None:
            self._uploaded -= len(stored.content)

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

    def deliver(self, content: bytes, *, name: str, content_type: str) -> Delivery:
        """Keep an output file, and drop the oldest ones if there is no room for it."""
        delivery = Delivery(
            path=f"{OUTPUTS}/{ids.capability()}/{name}",
            content=content,
            content_type=content_type,
            etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            created=self.clock.now(),
        )
        self.deliveries[delivery.path] = delivery
        self._delivered += len(content)
        while self._delivered > self.capacity and len(self.deliveries) > 1:
            self.withdraw(next(iter(self.deliveries)))
        return delivery

    def withdraw(self, path: str) -> None:
        """Drop an output file."""
        delivery = self.deliveries.pop(path, None)
        if delivery is not None:
            self._delivered -= len(delivery.content)
