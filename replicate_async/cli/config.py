"""The file of defaults: a table of options for each command."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from replicate_async.cli.errors import UsageError
from replicate_async.cli.options import expand_home
from replicate_async.core.usage import Price

_PATH: Final = "~/.config/replicate-async/config.toml"
"""Not in the working directory: a file of a project must not say where the token is sent."""

_UnitPrices: TypeAlias = dict[str, Annotated[float, msgspec.Meta(ge=0)]]
_Prices: TypeAlias = dict[Annotated[str, msgspec.Meta(pattern="./.")], _UnitPrices]


def path() -> str:
    """Return where the file is, or would be; REPLICATE_CONFIG names another."""
    return os.environ.get("REPLICATE_CONFIG") or _PATH


def read() -> dict[str, Any]:
    """Return the tables of the file, none if it is not there; raises `UsageError`."""
    try:
        return tomllib.loads(Path(expand_home(path())).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        flaw = "is not UTF-8"
    except RecursionError:
        flaw = "is nested too deeply"
    except OSError as error:
        flaw = f"cannot be read: {error.strerror}"
    except tomllib.TOMLDecodeError as error:
        flaw = f"is not TOML: {error}"
    except ValueError as error:
        flaw = f"cannot be found: {error}"
    raise UsageError(
        f"{path()} {flaw}. Repair or remove it, or let REPLICATE_CONFIG name another file."
    )


def prices() -> dict[str, Price]:
    """Return the prices of the file, by model; raises `UsageError`."""
    try:
        given = msgspec.convert(read().get("prices", {}), _Prices)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{path()}: [prices] is wrong: {error}. A model has a number for each metric, such as "
            '[prices."owner/name"] and predict_time = 0.000225 below it.'
        ) from None
    return {model: partial(_cost, units) for model, units in given.items()}


def _cost(units: _UnitPrices, metrics: Mapping[str, Any]) -> float:
    """Return the sum of metrics, each times the price of a unit; each run counts one "run"."""
    counted = {"run": 1, **metrics}
    return sum(price * float(counted[metric]) for metric, price in units.items())
