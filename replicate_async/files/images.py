"""Images of Pillow as files."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any, Final

from anyio import to_thread

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.contents import Image
from replicate_async.files.readers import translated_errors
from replicate_async.files.sources import FileHead, Memory

_PNG_MODES: Final = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
_NOT_FOR_PNG: Final = frozenset({"F", "I"})


def _png_mode(mode: str) -> str:
    """Return the mode of PNG that holds the pixels of *mode*."""
    if mode.upper() in _PNG_MODES:  # with the color multiplied by alpha
        return mode.upper()
    return {"PA": "RGBA", "I;16": "I;16"}.get(mode[:4], "RGB")


def encode_png(image: Any, label: str) -> bytes:
    """Return *image* as PNG, which is lossless."""
    if image.mode in _NOT_FOR_PNG:
        raise InvalidArgumentError(
            f'{label} has pixels of mode {image.mode!r}, which PNG cannot hold; convert("L") or '
            "save it to a file of a format that can."
        )
    converted = image
    options: dict[str, object] = {}
    if image.mode not in _PNG_MODES:
        converted = image.convert(_png_mode(image.mode))
        options["icc_profile"] = None  # it describes the pixels before the conversion
    if exif := image.getexif():
        # Exif has the orientation of a photograph.
        options["exif"] = exif.tobytes()
    content = BytesIO()
    converted.save(content, "PNG", **options)
    return content.getvalue()


def hash_of_pixels(image: Any) -> str:
    """Return a digest of the pixels, the same with every release of Pillow and zlib."""
    found = hashlib.sha256(repr((image.mode, image.size, image.getpalette())).encode())
    found.update(repr(getattr(image, "info", {}).get("transparency")).encode())
    found.update(image.getexif().tobytes())
    found.update(image.tobytes())
    return found.hexdigest()


class ImageSource(Memory):
    """An image of Pillow, encoded as PNG by `read_head`."""

    def __init__(self, image: Image, label: str) -> None:
        super().__init__(b"", label)
        self._image = image

    async def read_head(self, limit: int) -> FileHead:
        """Encode the image in a thread: millions of pixels take a second."""
        content = await to_thread.run_sync(self._encode)
        self._view = memoryview(content)
        self.size: int | None = len(content)
        return await super().read_head(limit)

    def _encode(self) -> bytes:
        with translated_errors(self.label):
            return encode_png(self._image, self.label)

    def fingerprint(self, limit: int) -> list[object]:
        """Return a digest of the pixels."""
        del limit
        with translated_errors(self.label):
            return ["image", hash_of_pixels(self._image)]
