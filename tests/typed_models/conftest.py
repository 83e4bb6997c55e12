from __future__ import annotations

import struct
import zlib
from typing import Annotated, Literal

import pytest

from replicate_async.local import Input, InputFile, LocalReplicate, OutputFile, Secret


@pytest.fixture
def server(server: LocalReplicate) -> LocalReplicate:
    """A server with the model ``dev/painter``, which `painter` has the types of."""

    @server.model("dev/painter")
    def paint(
        prompt: str,
        width: Annotated[int, Input(ge=256, le=1280)] = 1024,
        scheduler: Literal["DDIM", "K_EULER"] = "K_EULER",
        image: InputFile | None = None,
        token: Secret | None = None,
    ) -> list[OutputFile]:
        seen = len(image.data) if image is not None else 0
        secret = "" if token is None else token.get_secret_value()
        text = f"{prompt} {width} {scheduler} {seen} {len(secret)}"
        return [OutputFile(png(text), "image.png", "image/png")]

    return server


def png(text: str) -> bytes:
    """Return an image of one point that has *text* in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"tEXt", text.encode()), (b"IDAT", zlib.compress(b"\0\0"))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in (*parts, (b"IEND", b"")))
