"""What a method runs: a model, a version or a deployment, perhaps with types."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from replicate_async.refs import VersionRef, parse_version
from replicate_async.typed import Contract, TypedModel, contract_of


class Target(NamedTuple):
    """What is run, and the contract that its input and output keep."""

    ref: VersionRef
    contract: Contract | None = None


def target_of(model: str | TypedModel[Any, Any] | Target) -> Target:
    """Return what *model* names; raises `InvalidArgumentError` for a name that is malformed."""
    if model.__class__ is str:
        return _named(model)
    if isinstance(model, TypedModel):
        contract = contract_of(model)
        return Target(contract.ref, contract)
    return model if isinstance(model, Target) else Target(parse_version(model))


@lru_cache(maxsize=256)  # a program uses a few models, many times
def _named(model: str) -> Target:
    return Target(parse_version(model))
