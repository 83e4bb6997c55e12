"""Clients that outlive their loop, are forked, are used from threads, or are never closed."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from replicate_async import ClientStateError, Replicate, ReplicateError
from tests.faults.calls import after, client_of
from tests.files.hosts import hosted
from tests.support.fault_server import FaultServer
from tests.support.sentinel import TOKEN, caught
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

ROOT: Final = Path(__file__).parents[2]


class ServerThread:
    """A server with a loop and a thread of its own, so that clients' loops may come and go."""

    def __init__(self) -> None:
        self.server = after()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self.server:
            self._ready.set()
            await self._over.wait()

    def __enter__(self) -> FaultServer:
        self._thread.start()
        assert self._ready.wait(HANG)
        return self.server

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(HANG)


def test_a_client_serves_one_loop_after_the_other() -> None:
    with ServerThread() as server:
        client = client_of(server)

        async def ask() -> str:
            return (await client.account.get()).username

        assert [asyncio.run(ask()) for _ in range(3)] == ["acme"] * 3
        asyncio.run(client.aclose())

    assert len(server.connections) == 3


@pytest.mark.filterwarnings("ignore:[Uu]nclosed:ResourceWarning")
def test_a_client_whose_loop_was_stopped_short_serves_another() -> None:
    def ask_twice(server: FaultServer) -> str:
        client = client_of(server)
        dead = asyncio.new_event_loop()
        dead.run_until_complete(client.account.get())
        dead.close()  # without asyncio.run's courtesies

        async def ask() -> str:
            async with client:
                return (await client.account.get()).username

        return asyncio.run(ask())

    with ServerThread() as server:
        assert ask_twice(server) == "acme"
        gc.collect()  # warnings about leftovers of the closed loop belong to this test


@pytest.mark.anyio
async def test_a_client_used_from_another_thread_says_so() -> None:
    async with after() as server, client_of(server) as client:
        await client.account.get()

        def elsewhere() -> None:
            asyncio.run(use())

        async def use() -> None:
            await client.account.get()

        with ThreadPoolExecutor(8) as threads:
            loop = asyncio.get_running_loop()
            outcomes = await asyncio.gather(
                *(loop.run_in_executor(threads, elsewhere) for _ in range(8)),
                return_exceptions=True,
            )

        assert {type(outcome) for outcome in outcomes} == {ClientStateError}
        assert (await client.account.get()).username == "acme"


@pytest.mark.anyio
@pytest.mark.parametrize("close_first", [False, True])
async def test_a_closed_client_says_so(close_first: bool) -> None:
    async with after() as server:
        client = client_of(server)
        if not close_first:
            await client.account.get()
        await client.aclose()
        await client.aclose()
        with caught(ClientStateError):
            await client.account.get()
        with caught(ClientStateError):
            await client.with_options(timeout=1.0).account.get()


@pytest.mark.anyio
async def test_closing_closes_every_connection() -> None:
    async with after() as server:
        async with client_of(server) as client:
            await asyncio.gather(*(client.account.get() for _ in range(20)))
            assert server.open_connections
        await server.until_idle()


@pytest.mark.anyio
@pytest.mark.parametrize("steps", range(1, 7))
async def test_closing_that_is_cancelled_closes_every_connection(steps: int) -> None:
    before = open_sessions()
    async with hosted() as (file, server, _):
        client = client_of(server)
        with suppress(ReplicateError):
            await client.account.get()
        await file.with_client(client).read()
        assert len(open_sessions()) == len(before) + 2
        closing = asyncio.create_task(client.aclose())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        assert open_sessions() <= before


def open_sessions() -> set[aiohttp.ClientSession]:
    found = [each for each in gc.get_objects() if isinstance(each, aiohttp.ClientSession)]
    return {session for session in found if not session.closed}


@pytest.mark.anyio
async def test_closing_under_way_ends_calls_with_a_typed_error() -> None:
    asked = asyncio.Event()

    def handler(_request: Request) -> Answer:
        if len(server.requests) == 5:
            asked.set()
        return Answer(cut=0, ending=Ending.HANG)

    async with FaultServer(handler) as server:
        client = client_of(server)
        calls = [asyncio.create_task(client.account.get()) for _ in range(5)]
        await asked.wait()
        await client.aclose()
        async with asyncio.timeout(HANG):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await server.until_idle()

    assert all(isinstance(outcome, ReplicateError) for outcome in outcomes), outcomes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which Windows has not")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_its_own_connections() -> None:
    with ServerThread() as server:
        client = client_of(server)

        async def ask() -> str:
            return (await client.account.get()).username

        def child() -> None:
            assert asyncio.run(ask()) == "acme"

        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(ask()) == "acme"
        in_child(child)
        assert loop.run_until_complete(ask()) == "acme"
        loop.run_until_complete(client.aclose())
        loop.close()

    # One connection of the parent, used before and after the child, and one of the child.
    assert [each.requests for each in server.connections] == [2, 1]


@pytest.mark.anyio
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which Windows has not")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_child_forked_inside_a_running_loop_makes_connections_of_its_own() -> None:
    with ServerThread() as server:
        client = client_of(server)

        async def ask() -> None:
            assert (await client.account.get()).username == "acme"

        await ask()
        in_child(lambda: asyncio.run(ask()))
        await ask()
        await client.aclose()

    assert [each.requests for each in server.connections] == [2, 1]


def in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


SCRIPT: Final = """
from __future__ import annotations

import asyncio
import sys

from tests.faults.calls import after, client_of


async def main() -> None:
    async with after() as server:
        client = client_of(server)
        await client.account.get()
        {ending}


asyncio.run(main())
{afterwards}
"""

ENDINGS: Final = {
    "closed": ("await client.aclose()", ""),
    "not closed": ("global kept; kept = client", ""),
    "not closed, forgotten": ("del client", "import gc; gc.collect()"),
    "never used": ("kept = client_of(server)", ""),
    "left by an error": ("raise SystemExit(7)", ""),
    "in the middle of a call": (
        "asyncio.ensure_future(client.predictions.get('abc')); await asyncio.sleep(0)",
        "",
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "not closed",
        "in the middle of a call",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ENDINGS
            if name not in {"not closed", "in the middle of a call"}
        ),
    ],
)
def test_an_interpreter_ends_quietly(name: str) -> None:
    ending, afterwards = ENDINGS[name]

    run = subprocess.run(
        [
            *(sys.executable, "-X", "dev", "-W", "error", "-c"),
            SCRIPT.format(ending=ending, afterwards=afterwards),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )

    assert run.returncode == (7 if "SystemExit" in ending else 0), run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    assert run.stderr.count("ResourceWarning") <= 1, run.stderr


def test_importing_the_package_opens_and_reads_nothing() -> None:
    code = "import sys, replicate_async; print({'aiohttp', 'httpx'} & set(sys.modules))"

    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG,
    )

    assert run.stdout == "set()\n"


@pytest.mark.anyio
async def test_a_session_of_the_callers_is_used_and_left_open() -> None:
    async with after() as server, aiohttp.ClientSession() as session:
        async with Replicate(TOKEN, base_url=server.url, session=session) as client:
            assert (await client.account.get()).username == "acme"

        assert not session.closed
        assert server.open_connections == 1
