"""What the flows of every published client share: the server, a webhook receiver, the report."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import IO, Any, cast

Flow = Callable[["Server"], Awaitable[None] | None]


@dataclass(frozen=True)
class Server:
    """An embedded server in another process."""

    origin: str
    url: str
    token: str
    stdin: IO[str]
    stdout: IO[str]

    def sign(self, file_id: str) -> Mapping[str, str]:
        """Return the query with which *file_id* may be downloaded."""
        self.stdin.write(f"sign {file_id}\n")
        self.stdin.flush()
        return cast("dict[str, str]", json.loads(self.stdout.readline()))


@contextmanager
def running() -> Generator[Server]:
    """Start a server, and stop it at the end."""
    command = [sys.executable, "-m", "tests.peers.serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        where = json.loads(process.stdout.readline())
        yield Server(where["origin"], where["url"], where["token"], process.stdin, process.stdout)
        process.stdin.close()
        process.wait(10)


@dataclass(frozen=True)
class Delivery:
    """A webhook that arrived."""

    headers: Mapping[str, str]
    body: bytes


@contextmanager
def receiver() -> Generator[tuple[str, Queue[Delivery]]]:
    """Listen for webhooks; yield the URL to name and the queue in which they end."""
    arrived: Queue[Delivery] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put(Delivery(dict(self.headers), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.server_address[1]}/hook", arrived
        listener.shutdown()
        thread.join()


@dataclass
class Caught:
    """The error that a block raised."""

    error: Any = None


@contextmanager
def raises(kind: type[Exception]) -> Generator[Caught]:
    """Expect an error of *kind*; pytest is not there when the peers run."""
    caught = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
    else:
        raise AssertionError(f"no {kind.__name__}")


class Flows:
    """The flows of one client, in the order in which they are written."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}

    def __call__(self, title: str) -> Callable[[Flow], Flow]:
        def register(flow: Flow) -> Flow:
            self._flows[title] = flow
            return flow

        return register

    def __iter__(self) -> Iterator[tuple[str, Flow]]:
        return iter(self._flows.items())


def report(flows: Flows, server: Server, chosen: str) -> int:
    """Run the flows whose titles contain *chosen*, a line for each; return how many failed."""
    passed = 0
    failed: list[str] = []
    for title, flow in flows:
        if chosen not in title:
            continue
        try:
            done = flow(server)
            if done is not None:
                asyncio.run(_finish(done))
        except Exception:  # noqa: BLE001 - anything that a peer raises is a failed flow
            failed.append(title)
            print(f"FAIL  {title}", flush=True)
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok    {title}", flush=True)
    print(f"{passed} passed, {len(failed)} failed", *failed, sep="\n  ")
    return len(failed) or not passed


async def _finish(done: Awaitable[None]) -> None:
    async with asyncio.timeout(60):
        await done


def use_environment(server: Server, base_url: str) -> None:
    """Point clients that read their environment to *server*."""
    os.environ |= {
        "REPLICATE_API_TOKEN": server.token,
        "REPLICATE_BASE_URL": base_url,
        "REPLICATE_POLL_INTERVAL": "0.02",
    }
