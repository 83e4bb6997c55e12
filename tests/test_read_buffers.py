"""The memory that asyncio takes for each read of a socket."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, resource

from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction
from tests.support.sentinel import TOKEN

from replicate_async import Replicate


async def main():
    answer = json_answer(prediction("https://api.replicate.com/v1", id="abc"))
    server = FaultServer(lambda _: answer)
    async with server, Replicate(TOKEN, base_url=server.url) as client:
        for _ in range(20):
            await client.predictions.get("abc")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(300):
            await client.predictions.get("abc")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


asyncio.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do otherwise")
def test_glibc_keeps_the_memory_of_reads() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
    )

    # Each answer was worth two page faults.
    assert int(done.stdout) < 150
