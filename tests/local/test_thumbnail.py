from __future__ import annotations

import base64
import io
import sys

import aiohttp
import pytest
from PIL import Image

from replicate_async.interface.types import OutputFile
from replicate_async.local.builtins import BUILTINS
from replicate_async.local.builtins.png import png
from tests.local.recording import RecordingContext
from tests.local.wire import Wire

pytestmark = pytest.mark.anyio

URL = "https://files.test/cat.png"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def opened(file: OutputFile) -> Image.Image:
    image = Image.open(io.BytesIO(file.data))
    image.load()
    return image


async def shrunk(data: bytes, width: int = 20) -> tuple[OutputFile, RecordingContext]:
    context = RecordingContext({URL: data})
    model = BUILTINS["local/thumbnail"]()
    outputs = [value async for value in model.predict({"image": URL, "width": width}, context)]
    assert len(outputs) == len(context.saved) == 1
    return context.saved[0], context


async def test_a_picture_is_made_smaller_with_its_proportions() -> None:
    file, context = await shrunk(encoded(Image.new("RGB", (100, 50), "red")))
    small = opened(file)

    assert (small.size, small.getpixel((0, 0))) == ((20, 10), (255, 0, 0))
    assert (file.name, file.content_type) == ("cat-small.png", "image/png")
    assert context.logs.startswith("Read cat.png: PNG, 100x50, ")
    assert context.metrics == {"image_count": 1}


async def test_a_picture_is_never_made_larger() -> None:
    file, _ = await shrunk(encoded(Image.new("RGB", (10, 3))), width=64)

    assert opened(file).size == (10, 3)


async def test_a_sliver_keeps_a_pixel() -> None:
    file, _ = await shrunk(encoded(Image.new("L", (1000, 2))), width=10)

    assert opened(file).size == (10, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr"])
async def test_every_mode_of_picture_is_accepted(mode: str) -> None:
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")

    data = encoded(Image.new(mode, (40, 40)), kind)
    if mode == "YCbCr":
        try:
            Image.open(io.BytesIO(data)).load()
        except OSError:
            pytest.skip("this Pillow does not read the TIFF that it wrote")

    file, _ = await shrunk(data)

    assert opened(file).size == (20, 20)


async def test_transparency_is_kept() -> None:
    see_through = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    gif = encoded(see_through.quantize(), "GIF", transparency=0)

    for data in (encoded(see_through), gif):
        file, _ = await shrunk(data)
        assert opened(file).convert("RGBA").getpixel((5, 5)) == (0, 0, 0, 0)


async def test_a_jpeg_stays_a_jpeg_and_is_rotated_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned
    file, _ = await shrunk(encoded(Image.new("RGB", (100, 50)), "JPEG", exif=exif.tobytes()))

    assert (file.name, file.content_type) == ("cat-small.jpg", "image/jpeg")
    assert (opened(file).format, opened(file).size) == ("JPEG", (20, 40))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no picture that Pillow reads"),
        (b"GIF89a", "no picture that Pillow reads"),
        (encoded(Image.effect_noise((100, 100), 50))[:5000], "is damaged"),
        (png(9000, 9000, []), "more than 64,000,000 pixels"),
        (png(15000, 15000, []), "no picture that Pillow reads: Image size"),
    ],
    ids=["empty", "cut", "damaged", "large", "bomb"],
)
async def test_other_data_is_refused_as_no_picture(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await shrunk(data)


async def test_without_pillow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(RuntimeError, match=r"pip install 'replicate-async\[images\]'"):
        await shrunk(b"")


async def test_its_input_is_an_upload_a_data_url_or_an_output(
    wire: Wire,
) -> None:
    data = encoded(Image.effect_noise((400, 300), 50))
    assert len(data) > 64 * 1024, "on disk"
    form = aiohttp.FormData()
    form.add_field("content", data, filename="cat.png", content_type="image/png")
    uploaded = (await wire.ask("POST", "/files", data=form)).json["urls"]["get"]
    inline = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    drawn = (await wire.finish("local/mandelbrot", {"width": 64, "height": 48}))["output"]

    for url, name in [(uploaded, "cat"), (inline, "input"), (drawn, "mandelbrot")]:
        made = await wire.finish("local/thumbnail", {"image": url, "width": 32})
        assert made["status"] == "succeeded", made["error"]
        assert made["output"].endswith(f"/{name}-small.png")
        body = (await wire.ask("GET", made["output"], token=None)).body
        assert Image.open(io.BytesIO(body)).size == (32, 24)
