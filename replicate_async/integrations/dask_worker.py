"""The part of `run_on_dask` that runs on a worker: a function of the caller, and its files.

Functions, rows, results and values travel pickled. A `FileOutput` among them is bound to the client
of the process that unpickles it.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import cloudpickle  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs] - it has no types
from distributed import Worker, get_worker

from replicate_async.client import Replicate
from replicate_async.context import context_of
from replicate_async.files.inputs import FileEncoding, encode_input, is_record
from replicate_async.files.output import FileOutput
from replicate_async.files.uploads import send_files
from replicate_async.resources._uploads import Uploads

# Nothing closes these clients: the end of an event loop closes the sessions that were opened in it.
_CLIENTS: Final[WeakKeyDictionary[Worker, Replicate]] = WeakKeyDictionary()


async def run_prepare(function: bytes, row: bytes, encoding: FileEncoding) -> object:
    """Return the input that *function* makes of *row*, as plain JSON, with its files uploaded."""
    prepared = await _call(function, row)
    if not is_record(prepared):
        return prepared  # the batch refuses it, as in one process
    encoded = encode_input(cast("dict[str, object]", prepared), encoding)
    if encoded.slots:
        await send_files(encoded, Uploads(context_of(_worker_client())))
    return encoded.values


async def run_finish(function: bytes, result: bytes) -> bytes:
    """Return what *function* makes of a result, as it travels to the driver."""
    return dump(await _call(function, result))


async def run_finish_there(function: bytes, result: bytes) -> object:
    """Return what *function* makes of a result, which stays on the workers."""
    return await _call(function, result)


def dump(value: object) -> bytes:
    """Pickle *value*, functions of a program's own included."""
    with BytesIO() as file:
        _Pickler(file).dump(value)  # pyright: ignore[reportUnknownMemberType] - it has no types
        return file.getvalue()


def load(data: bytes, client: Callable[[], Replicate]) -> Any:
    """Unpickle what `dump` returned; *client* is called if there is a `FileOutput` in it."""
    with BytesIO(data) as file:
        return _Unpickler(file, client).load()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    def persistent_id(self, obj: object) -> object:
        return pickle.dumps(obj) if isinstance(obj, FileOutput) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, client: Callable[[], Replicate]) -> None:
        super().__init__(file)
        self._client = client

    def persistent_load(self, pid: bytes) -> FileOutput:
        file: FileOutput = pickle.loads(pid)  # noqa: S301 - of `_Pickler`
        return file.with_client(self._client())


async def _call(function: bytes, argument: bytes) -> object:
    """Call a function: in the event loop if it is async, else in a thread of the worker's own."""
    called = _function(function)
    given = load(argument, _worker_client)
    if inspect.iscoroutinefunction(called):
        return await cast("Awaitable[object]", called(given))
    threads = get_worker().executors["default"]
    context = copy_context()
    value = await asyncio.get_running_loop().run_in_executor(
        threads, lambda: context.run(called, given)
    )
    return await cast("Awaitable[object]", value) if inspect.isawaitable(value) else value


@lru_cache(maxsize=16)
def _function(code: bytes) -> Callable[[Any], object]:
    return cast("Callable[[Any], object]", cloudpickle.loads(code))


def _worker_client() -> Replicate:
    """Return the client of this worker, with the token and base URL of its environment."""
    worker = get_worker()
    client = _CLIENTS.get(worker)
    if client is None:
        client = _CLIENTS[worker] = Replicate()
    return client
