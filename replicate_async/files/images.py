"""Images of Pillow as content to be sent; Pillow is used where the caller has imported it."""

from __future__ import annotations

import hashlib
import sys
from io import BytesIO
from typing import Any, Final, Protocol

from anyio import to_thread

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.readers import explained
from replicate_async.files.sources import FileHead, Memory

_PNG_MODES: Final = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
_CONVERTED: Final = {
    "RGBa": "RGBA",
    "La": "LA",
    "PA": "RGBA",
    "I;16B": "I;16",
    "I;16L": "I;16",
    "I;16N": "I;16",
}
_NOT_FOR_PNG: Final = frozenset({"F", "I"})


class Image(Protocol):
    """An image of Pillow."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    @property
    def mode(self) -> str:
        """The kind of its pixels, such as "RGB"."""
        ...

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Write the image to a file."""
        ...

    def convert(self, mode: str) -> Any:
        """Return the image with pixels of another kind."""
        ...

    def getexif(self) -> Any:
        """Return what the image's file said about it."""
        ...

    def getpalette(self) -> Any:
        """Return the colours that the pixels are numbers of."""
        ...

    def tobytes(self) -> bytes:
        """Return the pixels."""
        ...


def is_image(value: object) -> bool:
    """Tell whether *value* is an image of Pillow."""
    module = sys.modules.get("PIL.Image")
    kind = getattr(module, "Image", None)
    return isinstance(kind, type) and isinstance(value, kind)


def encode_png(image: Image, what: str) -> bytes:
    """Return *image* as PNG, which loses no pixel."""
    if image.mode in _NOT_FOR_PNG:
        raise InvalidArgumentError(
            f'{what} has pixels of mode {image.mode!r}, which PNG cannot hold; convert("L") or '
            "save it to a file of a format that can."
        )
    shown = image
    options: dict[str, object] = {}
    if image.mode not in _PNG_MODES:
        shown = image.convert(_CONVERTED.get(image.mode, "RGB"))
        options["icc_profile"] = None  # it is about the pixels as they were
    if exif := image.getexif():
        # The orientation of a photograph stands there, and not in the pixels.
        options["exif"] = exif.tobytes()
    content = BytesIO()
    shown.save(content, "PNG", **options)
    return content.getvalue()


def hash_of_pixels(image: Image) -> str:
    """Return a digest of what *image* shows, the same for every release of Pillow and zlib."""
    found = hashlib.sha256(repr((image.mode, image.size, image.getpalette())).encode())
    found.update(repr(getattr(image, "info", {}).get("transparency")).encode())
    found.update(image.getexif().tobytes())
    found.update(image.tobytes())
    return found.hexdigest()


class ImageSource(Memory):
    """An image of Pillow, encoded as PNG when it is looked into."""

    def __init__(self, image: Image, what: str) -> None:
        super().__init__(b"", what)
        self._image = image

    async def start(self, most: int) -> FileHead:
        """Encode the image, in a thread: millions of pixels take a second."""
        content = await to_thread.run_sync(self._encode)
        self._view = memoryview(content)
        self.size: int | None = len(content)
        return await super().start(most)

    def _encode(self) -> bytes:
        with explained(self.what):
            return encode_png(self._image, self.what)

    def fingerprint(self, most: int) -> list[object]:
        """Return a digest of the pixels."""
        del most
        with explained(self.what):
            return ["image", hash_of_pixels(self._image)]
