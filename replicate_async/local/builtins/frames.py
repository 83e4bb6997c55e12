"""``local/frames``: an iterator of files, each of them a step further into the Mandelbrot set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from replicate_async.interface.types import Input, OutputFile
from replicate_async.local.builtins.mandelbrot import Palette, View, color_table
from replicate_async.local.builtins.png import png
from replicate_async.local.builtins.progress import Progress
from replicate_async.local.models.current_run import current_run
from replicate_async.local.models.function import ModelFunction

NAME: Final = "local/frames"

_CENTER: Final = -0.743643887 + 0.131825904j
_ITERATIONS: Final = 80


def predict(
    count: Annotated[int, Input(ge=1, le=100, description="How many frames")] = 4,
    size: Annotated[int, Input(ge=8, le=512, description="Side of each frame in pixels")] = 64,
    palette: Annotated[Palette, Input(description="Colours of the frames")] = Palette.OCEAN,
    factor: Annotated[float, Input(ge=1, le=10, description="How far each frame goes in")] = 2.0,
) -> Iterator[OutputFile]:
    """Zoom into the Mandelbrot set, one PNG after another."""
    colors = color_table(palette, _ITERATIONS)
    progress = Progress(count)
    for number in range(count):
        view = View(size, size, _ITERATIONS, _CENTER, factor**number)
        yield OutputFile(png(size, size, view.rows(colors)), f"frame-{number}.png", "image/png")
        progress.advance()
    current_run().metric("image_count", count)


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
