"""Hardware that models can run on."""

from __future__ import annotations

import builtins

from replicate_async.resources._base import Resource
from replicate_async.resources.endpoints import HARDWARE_LIST
from replicate_async.schemas import Hardware


class HardwareResource(Resource):
    """Hardware that models can run on; ``client.hardware``."""

    async def list(self) -> builtins.list[Hardware]:
        """Fetch the hardware that models can run on, as a plain list (hardware.list)."""
        return await self._context.call(HARDWARE_LIST)
