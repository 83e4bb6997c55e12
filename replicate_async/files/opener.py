"""What a `FileOutput` fetches its bytes with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from replicate_async.schemas import Prediction

if TYPE_CHECKING:
    from replicate_async.files.download import OpenFile


class FileOpener(NamedTuple):
    """How output files are opened, and looked up again when their URL has expired."""

    open: OpenFile
    get: Callable[[str], Awaitable[Prediction]]
