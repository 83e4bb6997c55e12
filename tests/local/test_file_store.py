from __future__ import annotations

import pytest

from replicate_async.local.clock import Clock
from replicate_async.local.store.blobs import in_memory
from replicate_async.local.store.files import FileStore


@pytest.mark.anyio
async def test_the_oldest_uploads_are_dropped_above_the_capacity() -> None:
    clock = Clock()
    store = FileStore(clock, expiry=10, capacity=10)
    for name in ("a", "b"):
        content = in_memory(b"x" * 6)
        store.upload("dev", content, name=name, content_type="text/plain", metadata={})

    assert [stored.name for stored in store.uploads.values()] == ["b"]
    clock.advance(11)
    assert store.uploads == {}
    clock.close()


def test_the_oldest_outputs_are_dropped_above_the_capacity() -> None:
    store = FileStore(Clock(), expiry=1, capacity=10)
    first = store.add_output(in_memory(b"x" * 6), name="a", content_type="text/plain")
    second = store.add_output(in_memory(b"x" * 6), name="b", content_type="text/plain")

    assert list(store.outputs) == [second.path]
    store.delete_output(first.path)
    store.delete_output(second.path)
    assert store.outputs == {}
