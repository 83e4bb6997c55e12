"""``local/thumbnail``: makes a picture smaller, with Pillow."""

from __future__ import annotations

import io
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Final

from replicate_async.interface.types import Input, InputFile, OutputFile
from replicate_async.local.models.current_run import current_run, log
from replicate_async.local.models.function import ModelFunction

if TYPE_CHECKING:
    from PIL.Image import Image

NAME: Final = "local/thumbnail"

_MOST_PIXELS: Final = 64_000_000
_QUALITY: Final = 85


def predict(
    image: Annotated[InputFile, Input(description="A picture, such as a PNG or a JPEG")],
    width: Annotated[int, Input(ge=1, le=2048, description="Width in pixels at most")] = 128,
) -> OutputFile:
    """Make a picture smaller: a JPEG stays one, anything else becomes a PNG."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - an extra
    except ImportError:
        raise RuntimeError(
            f"{NAME} needs Pillow on the server: pip install 'replicate-async[images]'"
        ) from None

    with image.open() as file:
        try:
            picture = Image.open(file)
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(f"{image.name} is no picture that Pillow reads: {error}") from None
        kind = picture.format or "PNG"
        log(f"Read {image.name}: {kind}, {picture.width}x{picture.height}, {image.size} bytes")
        # Read from the header; the picture is not unpacked yet.
        if picture.width * picture.height > _MOST_PIXELS:
            raise ValueError(f"{image.name} has more than {_MOST_PIXELS:,} pixels")
        try:
            whole = _plain(ImageOps.exif_transpose(picture), opaque=kind == "JPEG")
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{image.name} is damaged: {error}") from None
    width = min(width, whole.width)
    height = max(1, round(whole.height * width / whole.width))
    small = whole.resize((width, height), reducing_gap=2.0)
    current_run().metric("image_count", 1)
    stem, encoded = PurePath(image.name).stem, io.BytesIO()
    if kind == "JPEG":
        small.save(encoded, "JPEG", quality=_QUALITY)
        return OutputFile(encoded.getvalue(), f"{stem}-small.jpg", "image/jpeg")
    small.save(encoded, "PNG", optimize=True)
    return OutputFile(encoded.getvalue(), f"{stem}-small.png", "image/png")


def _plain(picture: Image, *, opaque: bool) -> Image:
    """Return *picture* in a mode that can be resized well, without a palette."""
    if opaque:
        return picture.convert("RGB")
    if picture.mode in {"L", "LA", "RGB", "RGBA"}:
        return picture.copy()
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
