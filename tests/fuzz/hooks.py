"""Give schemathesis ids that exist: a random id names nothing.

Named in SCHEMATHESIS_HOOKS by `tests/fuzz/run.py`, whose server has all of this.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, cast

schemathesis: Any = import_module("schemathesis")

KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "model_owner": ("local", "dev", "replicate"),
    "model_name": ("storyteller", "echo", "hello-world", "slow", "mine"),
    "collection_slug": ("built-in",),
    "deployment_owner": ("dev",),
    "deployment_name": ("mine",),
    "version": ("local/echo", "replicate/hello-world", os.environ.get("FUZZ_VERSION", "")),
    "version_id": (os.environ.get("FUZZ_VERSION", ""),),
    "prediction_id": (os.environ.get("FUZZ_PREDICTION", ""),),
    "training_id": (os.environ.get("FUZZ_TRAINING", ""),),
    "file_id": (os.environ.get("FUZZ_FILE", ""),),
    "destination": ("dev/mine",),
    "model": ("local/echo",),
    "owner": ("dev",),
    "hardware": ("cpu",),
}
_dice: Final = random.Random(0)


def _with_known(_context: Any, values: Any) -> Any:
    """Replace most random ids by ids that exist."""
    if not isinstance(values, dict):
        return values
    made_up = cast("dict[str, Any]", values)
    for name in sorted(made_up.keys() & KNOWN.keys()):
        if _dice.random() < 0.7:
            made_up[name] = _dice.choice(KNOWN[name])
    return made_up


_hook: Callable[[str], Callable[[Any], Any]] = schemathesis.hook
_hook("map_path_parameters")(_with_known)
_hook("map_body")(_with_known)
