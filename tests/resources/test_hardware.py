from __future__ import annotations

import pytest

from replicate_async import AuthenticationError, Hardware, Replicate

pytestmark = pytest.mark.anyio


async def test_hardware_is_a_plain_list(client: Replicate) -> None:
    hardware = await client.hardware.list()

    assert hardware[:2] == [
        Hardware(sku="cpu", name="CPU"),
        Hardware(sku="gpu-t4", name="Nvidia T4 GPU"),
    ]


async def test_hardware_needs_a_token(client: Replicate) -> None:
    with pytest.raises(AuthenticationError):
        await client.with_options(api_token="r8_unknown").hardware.list()
