"""Models that every embedded server has; each really computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
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

_MODULES: Final = (hello_world, echo, fail, frames, mandelbrot, slow, storyteller, thumbnail)

BUILTINS: Final[Mapping[str, Callable[[], ModelFunction]]] = MappingProxyType(
    {module.NAME: cache(module.model) for module in _MODULES}
)
"""The backend of each model, by its "owner/name"; functions have no state, so servers share it."""
