"""Reading the objects of callers; errors name the argument and keep the cause."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import BinaryIO, Final, cast

from anyio import to_thread

from replicate_async.errors import InvalidArgumentError, ReplicateError
from replicate_async.files.contents import AsyncReadable
from replicate_async.files.values import reason_of

CHUNK_SIZE: Final = 1024 * 1024
"""Bytes that are read at once."""


def unreadable(label: str, error: Exception) -> InvalidArgumentError:
    """Return the error for a file whose reading raised *error*."""
    if isinstance(error, OSError):
        return InvalidArgumentError(
            f"{label} cannot be read: {error.strerror or reason_of(error)}."
        )
    if isinstance(error, ValueError) and "closed" in str(error):
        return InvalidArgumentError(
            f"{label} is closed; pass it inside its 'with' block, or its Path."
        )
    return InvalidArgumentError(f"{label} cannot be read: {reason_of(error)}.")


@contextmanager
def translated_errors(label: str) -> Generator[None]:
    """Raise `InvalidArgumentError` for exceptions of the caller's object, with them as cause."""
    try:
        yield
    except ReplicateError:
        raise
    except Exception as error:
        raise unreadable(label, error) from error


def checked(data: object, label: str) -> memoryview:
    """Return *data*, which must be bytes; raises `InvalidArgumentError` otherwise."""
    if isinstance(data, str):
        raise InvalidArgumentError(f"{label} is open in text mode; open it with 'rb'.")
    if isinstance(data, bytes | bytearray | memoryview):
        return memoryview(cast("bytes | bytearray | memoryview", data)).cast("B")
    raise InvalidArgumentError(f"{label} gave a {type(data).__name__}; it must give bytes.")


def at_end(label: str, position: int) -> InvalidArgumentError:
    """Return the error for a file at its end, which the caller read or wrote before."""
    return InvalidArgumentError(
        f"{label} stands at its end, after {position:,} bytes, so that nothing would be sent; call "
        "seek(0) on it first."
    )


def reads_async(value: object) -> bool:
    """Return whether the ``read`` method of *value* is a coroutine function."""
    return iscoroutinefunction(getattr(type(value), "read", None))


async def read_pipe(file: BinaryIO, label: str) -> AsyncGenerator[memoryview]:
    """Yield the bytes of a pipe, a socket or another file without a position, as they arrive."""
    # read1 returns the bytes that have arrived; read would wait for a whole piece.
    read: Callable[[int], object] = getattr(file, "read1", file.read)
    # The thread may block forever, so a cancellation does not wait for it.
    while data := checked(
        await to_thread.run_sync(read, CHUNK_SIZE, abandon_on_cancel=True), label
    ):
        yield data


async def read_async(reader: AsyncReadable, label: str) -> AsyncGenerator[memoryview]:
    """Yield the bytes of an `AsyncReadable`; iterating over it would give lines of any length."""
    data = checked(await reader.read(CHUNK_SIZE), label)
    if not data and iscoroutinefunction(getattr(type(reader), "tell", None)):
        tell: Callable[[], Awaitable[int]] = getattr(reader, "tell")  # noqa: B009 - not in the protocol
        if position := await tell():
            raise at_end(label, position)
    while data:
        yield data
        data = checked(await reader.read(CHUNK_SIZE), label)
