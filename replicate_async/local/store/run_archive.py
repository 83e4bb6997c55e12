"""Expired runs, packed into about 250 bytes each: a server may run for weeks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from replicate_async.local.clock import Clock
from replicate_async.local.store.records import Account, Kind, Model, RunRecord, Status, Version

_TIMES: Final = ("predict_time", "total_time")


class _Shared(NamedTuple):
    """Fields that many runs have in common, kept once."""

    account: Account
    kind: Kind
    model: Model
    version: Version
    base: str
    source: str
    status: Status
    deployment: str | None
    destination: Model | None
    stream_prefix: str
    """The path of its stream without the token; empty without a stream."""
    metrics: tuple[str, ...]


_Packed = tuple[float, float | None, float | None, float | None, str | None, list[Any]]
_decoder: Final[msgspec.msgpack.Decoder[_Packed]] = msgspec.msgpack.Decoder(_Packed)


class ExpiredRun(msgspec.Struct, frozen=True, gc=False):
    """A run without its data."""

    packed: bytes
    shared: _Shared

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

    def __init__(self, clock: Clock, stream_token: Callable[[str], str]) -> None:
        self._clock = clock
        self._token = stream_token
        self._shared: dict[tuple[object, ...], _Shared] = {}

    def pack(self, run: RunRecord) -> ExpiredRun:
        """Return *run* without its data, packed."""
        metrics = {name: value for name, value in run.metrics.items() if name not in _TIMES}
        prefix = run.stream_path.removesuffix(self._token(run.id))
        shared = _Shared(
            run.account,
            run.kind,
            run.model,
            run.version,
            run.base,
            run.source,
            run.status,
            run.deployment,
            run.destination,
            prefix,
            tuple(metrics),
        )
        # Mutable records have no hash.
        key = tuple(id(each) if hasattr(each, "__dict__") else each for each in shared)
        packed: _Packed = (
            run.created,
            run.started,
            run.completed,
            run.deadline,
            run.error,
            list(metrics.values()),
        )
        return ExpiredRun(msgspec.msgpack.encode(packed), self._shared.setdefault(key, shared))

    def restore(self, id: str, expired: ExpiredRun) -> RunRecord:
        """Return the unpacked run *id*."""
        shared = expired.shared
        created, started, completed, deadline, error, values = _decoder.decode(expired.packed)
        run = RunRecord(
            id=id,
            kind=shared.kind,
            account=shared.account,
            model=shared.model,
            version=shared.version,
            input={},
            shown_input={},
            base=shared.base,
            created=created,
            clock=self._clock,
            deployment=shared.deployment,
            destination=shared.destination,
            source=shared.source,
            deadline=deadline,
            status=shared.status,
            error=error,
            started=started,
            completed=completed,
            data_removed=True,
            metrics=dict(zip(shared.metrics, values, strict=True)),
            stream_path=shared.stream_prefix and f"{shared.stream_prefix}{self._token(id)}",
        )
        run.measure()
        return run
