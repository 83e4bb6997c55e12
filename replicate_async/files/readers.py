"""Reading what callers hand over; its errors name the argument and keep the cause."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import BinaryIO, Final, Protocol, Self, cast

from anyio import to_thread

from replicate_async.errors import InvalidArgumentError, ReplicateError

PIECE: Final = 1024 * 1024
"""Bytes that are read at once."""

_LONGEST_REASON: Final = 200


class AsyncReadable(Protocol):
    """What is read by awaiting ``read``, such as `asyncio.StreamReader` or a file of aiofiles."""

    async def read(self, n: int = -1, /) -> bytes:
        """Return at most *n* bytes, nothing at the end."""
        ...


def reason_of(error: BaseException) -> str:
    """Return the type and the message of *error* in one line of moderate length."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a broken __str__ of the caller's own exception
        text = ""
    text = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def unreadable(what: str, error: Exception) -> InvalidArgumentError:
    """Return the error for content whose reading raised *error*."""
    if isinstance(error, OSError):
        return InvalidArgumentError(f"{what} cannot be read: {error.strerror or reason_of(error)}.")
    if isinstance(error, ValueError) and "closed" in str(error):
        return InvalidArgumentError(
            f"{what} is closed; pass it inside its 'with' block, or its Path."
        )
    return InvalidArgumentError(f"{what} cannot be read: {reason_of(error)}.")


class explained:  # noqa: N801 - reads as a verb in a with statement
    """Turns exceptions of the content's own into `InvalidArgumentError`, with them as the cause."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ReplicateError):
            raise unreadable(self._what, error) from error


def checked(data: object, what: str) -> memoryview:
    """Return *data* as bytes; raises `InvalidArgumentError` if it is anything else."""
    if isinstance(data, str):
        raise InvalidArgumentError(f"{what} is open in text mode; open it with 'rb'.")
    if isinstance(data, bytes | bytearray | memoryview):
        return memoryview(cast("bytes | bytearray | memoryview", data)).cast("B")
    raise InvalidArgumentError(f"{what} gave a {type(data).__name__}; it must give bytes.")


def at_end(what: str, position: int) -> InvalidArgumentError:
    """Return the error for content that was read or written, and not set back to its start."""
    return InvalidArgumentError(
        f"{what} stands at its end, after {position:,} bytes, so that nothing would be sent; call "
        "seek(0) on it first."
    )


def reads_async(value: object) -> bool:
    """Tell whether the ``read`` method of *value* is a coroutine function."""
    return iscoroutinefunction(getattr(type(value), "read", None))


class Pipe:
    """A pipe, a socket or another file that has no position, read as data arrives."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        # A pipe gives what it has; to wait for a whole piece could take its writer's lifetime.
        self._read: Callable[[int], object] = getattr(file, "read1", file.read)
        self._what = what

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        # The thread may wait for ever, so a cancel does not wait for the thread.
        data = await to_thread.run_sync(self._piece, abandon_on_cancel=True)
        if not data:
            raise StopAsyncIteration
        return data

    def _piece(self) -> memoryview:
        with explained(self._what):
            return checked(self._read(PIECE), self._what)


class AsyncPieces:
    """What an `AsyncReadable` gives, by bytes: iterating over one gives lines of any length."""

    def __init__(self, reader: AsyncReadable, what: str) -> None:
        self._reader = reader
        self._what = what
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        with explained(self._what):
            data = checked(await self._reader.read(PIECE), self._what)
            if not data and not self._begun:
                await self._check_position()
        self._begun = True
        if not data:
            raise StopAsyncIteration
        return data

    async def _check_position(self) -> None:
        if iscoroutinefunction(getattr(type(self._reader), "tell", None)):
            tell: Callable[[], Awaitable[int]] = getattr(self._reader, "tell")  # noqa: B009 - not in the protocol
            if position := await tell():
                raise at_end(self._what, position)
