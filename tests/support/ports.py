"""Ports that nothing listens on, and that no other test takes meanwhile."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator

# A block for each process: the workers of pytest-xdist have adjacent process IDs.
_ports: Iterator[int] = itertools.count(20_000 + os.getpid() % 96 * 128)


def free_port() -> int:
    """Return a port that is free, and stays so until a program binds to it on purpose.

    The system hands out ports from 32,768 on by itself, so one of those may be taken again at
    once by a test in another process.
    """
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
