"""Expired runs, packed into about 250 bytes each: a server may run for weeks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

import msgspec

from replicate_async.local.store.records import Account, Kind, RunRecord

_TIMES: Final = ("predict_time", "total_time")
_SHARED: Final = attrgetter(
    "account", "kind", "model", "version", "base", "source", "status", "deployment", "destination"
)
_OWN: Final = ("created", "started", "completed", "deadline", "error")

_Packed = tuple[float, float | None, float | None, float | None, str | None, list[Any]]
_decoder: Final[msgspec.msgpack.Decoder[_Packed]] = msgspec.msgpack.Decoder(_Packed)


class ExpiredRun(msgspec.Struct, frozen=True, gc=False):
    """A run without its data."""

    packed: bytes
    shared: RunRecord
    """The fields that many runs have in common, kept once."""

    @property
    def account(self) -> Account:
        """The account of the run."""
        return self.shared.account

    @property
    def kind(self) -> Kind:
        """Whether it is a prediction or a training."""
        return self.shared.kind

    @property
    def source(self) -> str:
        """Whether it was made by the API or on the web."""
        return self.shared.source

    @property
    def created(self) -> float:
        """When it was created, in seconds since 1970."""
        return _decoder.decode(self.packed)[0]


class RunArchive:
    """Packs expired runs and unpacks them again."""

    def __init__(self, stream_token: Callable[[str], str]) -> None:
        self._token = stream_token
        self._shared: dict[tuple[object, ...], RunRecord] = {}

    def pack(self, run: RunRecord) -> ExpiredRun:
        """Return *run* without its data, packed."""
        metrics = {name: value for name, value in run.metrics.items() if name not in _TIMES}
        stream = run.stream_path.removesuffix(self._token(run.id))
        # Mutable records have no hash.
        common = (id(each) if hasattr(each, "__dict__") else each for each in _SHARED(run))
        key = (*common, stream, *metrics)
        if key not in self._shared:
            names = dict.fromkeys(metrics)
            self._shared[key] = replace(
                run, id="", stream=None, stream_path=stream, metrics=names, files=[]
            )
        own = (*(getattr(run, name) for name in _OWN), list(metrics.values()))
        return ExpiredRun(msgspec.msgpack.encode(own), self._shared[key])

    def restore(self, id: str, expired: ExpiredRun) -> RunRecord:
        """Return the unpacked run *id*."""
        shared = expired.shared
        *own, values = _decoder.decode(expired.packed)
        path = shared.stream_path and f"{shared.stream_path}{self._token(id)}"
        metrics = dict(zip(shared.metrics, values, strict=True))
        own_fields: dict[str, Any] = dict(zip(_OWN, own, strict=True))
        run = replace(shared, id=id, stream_path=path, metrics=metrics, **own_fields)
        run.measure()
        return run
