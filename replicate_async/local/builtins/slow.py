"""``local/slow``: takes its time, and says how far it is."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from replicate_async.interface.types import Input
from replicate_async.local.builtins.progress import Progress
from replicate_async.local.models.current_run import log
from replicate_async.local.models.function import ModelFunction

NAME: Final = "local/slow"


async def predict(
    seconds: Annotated[float, Input(ge=0, le=3600, description="How long to take")] = 5,
    steps: Annotated[int, Input(ge=1, le=10_000, description="Lines of progress")] = 10,
) -> str:
    """Wait, with progress in the logs, until it is over or cancelled."""
    progress = Progress(steps)
    try:
        for _ in range(steps):
            await asyncio.sleep(seconds / steps)
            progress.advance()
    except asyncio.CancelledError:
        log(f"Stopped after {progress.done} of {steps} steps")
        raise
    return f"waited {seconds:g} seconds in {steps} steps"


def model() -> ModelFunction:
    """Return the model."""
    return ModelFunction(predict, name=NAME)
