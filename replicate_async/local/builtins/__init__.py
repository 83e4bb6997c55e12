"""Models that every embedded server has; each really computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from replicate_async.local.builtins import (
    echo,
    fail,
    frames,
    hello_world,
    mandelbrot,
    slow,
    storyteller,
    thumbnail,
)
from replicate_async.local.models.function import ModelFunction

BUILTINS: Final[Mapping[str, Callable[[], ModelFunction]]] = MappingProxyType(
    {
        hello_world.NAME: hello_world.model,
        echo.NAME: echo.model,
        fail.NAME: fail.model,
        frames.NAME: frames.model,
        mandelbrot.NAME: mandelbrot.model,
        slow.NAME: slow.model,
        storyteller.NAME: storyteller.model,
        thumbnail.NAME: thumbnail.model,
    }
)
"""The factory of each model, by its "owner/name"."""
