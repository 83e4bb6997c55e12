"""Hardware that models can run on."""

from __future__ import annotations

import builtins
from typing import Final

from replicate_async.core.endpoint import Endpoint
from replicate_async.resources._base import Resource
from replicate_async.schemas import Hardware

LIST: Final = Endpoint("GET", "/hardware", returns=list[Hardware])


class HardwareResource(Resource):
    """Hardware that models can run on; ``client.hardware``."""

    async def list(self) -> builtins.list[Hardware]:
        """Fetch the hardware on offer: a plain list, there are no pages (hardware.list)."""
        return await self._client.call(LIST)
