"""A port that neither accepts nor refuses connections."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress


@contextmanager
def deaf_server() -> Generator[str]:
    """Yield the URL of a server whose accept queue is full, so that connecting takes for ever."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"
