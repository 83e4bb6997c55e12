"""``local/mandelbrot``: renders a picture, row by row, with its progress in the logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

from replicate_async.interface.types import Input, OutputFile
from replicate_async.local.builtins.png import png
from replicate_async.local.builtins.progress import Progress
from replicate_async.local.models.current_run import current_run, log
from replicate_async.local.models.function import ModelFunction

NAME: Final = "local/mandelbrot"

_BANDS: Final = 16
Color = tuple[int, int, int]


class Palette(Enum):
    """How a point's distance from the set is coloured."""

    FIRE = "fire"
    OCEAN = "ocean"
    FOREST = "forest"
    GRAY = "gray"


_STOPS: Final[dict[Palette, Sequence[Color]]] = {
    Palette.FIRE: ((20, 0, 10), (120, 10, 20), (230, 90, 10), (255, 200, 60), (255, 255, 230)),
    Palette.OCEAN: ((0, 7, 40), (0, 50, 110), (20, 130, 180), (130, 220, 220), (250, 255, 250)),
    Palette.FOREST: ((10, 20, 10), (20, 70, 40), (70, 130, 50), (180, 200, 90), (250, 250, 210)),
    Palette.GRAY: ((0, 0, 0), (255, 255, 255)),
}


@dataclass(frozen=True)
class View:
    """A rectangle of the complex plane, and its resolution."""

    width: int
    height: int
    iterations: int
    center: complex = -0.65
    zoom: float = 1.0

    def rows(self, colors: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the rows of the picture, from the top; *colors* has one for each escape time."""
        step = 3.0 / (self.zoom * self.width)
        left = self.center.real - step * (self.width - 1) / 2
        top = self.center.imag + step * (self.height - 1) / 2
        for y in range(self.height):
            imaginary = top - step * y
            points = (complex(left + step * x, imaginary) for x in range(self.width))
            yield b"".join(colors[escape_time(point, self.iterations)] for point in points)


def escape_time(point: complex, limit: int) -> int:
    """Return after how many rounds *point* leaves the circle of radius 2, or *limit* if never."""
    z = 0j
    for count in range(limit):
        if z.real * z.real + z.imag * z.imag > 4:
            return count
        z = z * z + point
    return limit


def color_table(palette: Palette, iterations: int) -> list[bytes]:
    """Return a colour for each escape time; points that never escape are black."""
    stops = _STOPS[palette]
    table: list[bytes] = []
    for count in range(iterations):
        place = (count / max(1, iterations - 1)) ** 0.5 * (len(stops) - 1)
        low = min(int(place), len(stops) - 2)
        pairs = zip(stops[low], stops[low + 1], strict=True)
        table.append(bytes(round(a + (b - a) * (place - low)) for a, b in pairs))
    return [*table, b"\0\0\0"]


def predict(
    width: Annotated[int, Input(ge=16, le=1024, description="Width in pixels")] = 256,
    height: Annotated[int, Input(ge=16, le=1024, description="Height in pixels")] = 192,
    iterations: Annotated[int, Input(ge=1, le=2000, description="Rounds for each point")] = 60,
    palette: Annotated[Palette, Input(description="Colours of the picture")] = Palette.FIRE,
    center_x: Annotated[float, Input(ge=-2.5, le=2.5, description="Real part")] = -0.65,
    center_y: Annotated[float, Input(ge=-2.5, le=2.5, description="Imaginary part")] = 0.0,
    zoom: Annotated[float, Input(ge=0.1, le=1e12, description="How far to go in")] = 1.0,
) -> OutputFile:
    """Render a part of the Mandelbrot set as a PNG."""
    view = View(width, height, iterations, complex(center_x, center_y), zoom)
    run = current_run()
    log(f"Rendering {width}x{height} with {iterations} iterations")
    progress = Progress(_BANDS)
    rows: list[bytes] = []
    for number, row in enumerate(view.rows(color_table(palette, iterations)), start=1):
        rows.append(row)
        while progress.done < _BANDS * number // height:
            progress.advance()
        if run.canceled:
            break
    rows += [bytes(3 * width)] * (height - len(rows))
    run.metric("image_count", 1)
    return OutputFile(png(width, height, rows), "mandelbrot.png", "image/png")


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
