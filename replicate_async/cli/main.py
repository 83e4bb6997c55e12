"""The process around a command: Ctrl-C, a closed pipe, one line for what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from replicate_async.cli.errors import FAILED, CommandError, one_line, without_tokens
from replicate_async.errors import ReplicateError

BROKEN_PIPE: Final = 141
"""What a shell says of a program that wrote to a pipe nobody reads."""

_SHOW_CURSOR: Final = b"\x1b[?25h"


def execute(command: Coroutine[Any, Any, None]) -> int:
    """Run *command* on an event loop and return the exit code.

    The first Ctrl-C cancels it, so that it can clean up; the second ends the process there.
    """
    try:
        return asyncio.run(_supervised(command))
    except CommandError as error:
        return fail(error, error.listing, error.code)
    except ReplicateError as error:
        return fail(error)
    except BrokenPipeError:
        return _silenced()
    except OSError as error:
        return fail(error.strerror or error)
    except Exception as error:  # noqa: BLE001 - a user of the command line gets no traceback
        return fail(f"{type(error).__name__}: {error}")


def fail(message: object, listing: str = "", code: int = FAILED) -> int:
    """Say on stderr what is wrong and return *code*."""
    with suppress(OSError):
        print(f"error: {without_tokens(one_line(message))}", file=sys.stderr)
        if listing:
            print(f"\n{listing}", file=sys.stderr)
    return code


async def _supervised(command: Coroutine[Any, Any, None]) -> int:
    loop = asyncio.get_running_loop()
    task = loop.create_task(command)
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if received:
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)
        received.append(number)
        loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await task
    except asyncio.CancelledError:
        return 128 + received[0] if received else FAILED
    except ReplicateError:
        # What a cancelled request makes of it is of no interest.
        if received:
            return 128 + received[0]
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _silenced() -> int:
    """Return the code for a reader that went away, and keep Python from complaining at its exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    return BROKEN_PIPE
