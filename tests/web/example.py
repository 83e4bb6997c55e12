"""The programs in docs/examples that serve, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio

from replicate_async.local import LocalReplicate
from tests.support.ports import free_port
from tests.support.waiting import HANG

FOLDER = Path(__file__).parents[2] / "docs" / "examples"


@contextlib.asynccontextmanager
async def example(
    name: str, *arguments: str, server: LocalReplicate | None = None
) -> AsyncGenerator[int, None]:
    """Run a program on a free port, against *server* or with what *arguments* say.

    Fails when it prints an error, or does not end when it is told to.
    """
    port = free_port()
    environment = {**os.environ, "PYTHONWARNINGS": "error", "REPLICATE_API_TOKEN": ""}
    if server is not None:
        environment["REPLICATE_API_TOKEN"] = server.api_token
        environment["REPLICATE_BASE_URL"] = server.url
    process = await create_subprocess_exec(
        sys.executable,
        str(FOLDER / f"{name}.py"),
        "--port",
        str(port),
        *arguments,
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    errors = b""
    try:
        with anyio.fail_after(HANG):
            said = await process.stdout.readline()
        if not said:
            _, errors = await process.communicate()
            raise AssertionError(errors.decode())
        await listens(port)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with anyio.CancelScope(shield=True), anyio.fail_after(HANG):
            _, errors = await process.communicate()
    assert b"Traceback" not in errors, errors.decode()


async def listens(port: int) -> None:
    with anyio.fail_after(HANG):
        while True:
            with contextlib.suppress(OSError):
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                return
            await anyio.sleep(0.02)


def conversation(*texts: str) -> str:
    """Return what the page posts: messages of the user and the model in turn."""
    roles = ["user", "assistant"]
    messages = [{"role": roles[at % 2], "text": text} for at, text in enumerate(texts)]
    return json.dumps({"messages": messages})
