"""The file of defaults: a table of options for each command."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from cyclopts import App

from replicate_async.cli.errors import UsageError
from replicate_async.cli.options import expand_home
from replicate_async.core.endpoint import shorten
from replicate_async.core.usage import Price
from replicate_async.interface.refusal import near

_PATH: Final = "~/.config/replicate-async/config.toml"
"""Not in the working directory: a file of a project must not say where the token is sent."""
_PRICES: Final = "prices"
"""The table that is not of a command."""

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


def check(defaults: Mapping[str, Any], app: App) -> None:
    """Raise `UsageError` for a table or option in the file that *app*, the program, has not."""
    _check_table({name: defaults[name] for name in defaults if name != _PRICES}, app)


def _check_table(table: Mapping[str, Any], app: App, *commands: str) -> None:
    known = [name for name in app if not name.startswith("-")]
    options = [] if app.default_command is None else _options(app)
    for key, value in table.items():
        if key in known and isinstance(value, dict):
            _check_table(cast("dict[str, Any]", value), app[key], *commands, key)
        elif key in known:
            where = ".".join((*commands, key))
            raise UsageError(f"{path()}: {key} is a command: write its options below [{where}].")
        elif key.replace("_", "-") not in options:
            raise UsageError(_unknown(key, commands, [*options, *known]))


def _options(command: App) -> list[str]:
    names = [name for one in command.assemble_argument_collection() for name in one.names]
    return [name[2:] for name in names if name.startswith("--") and not name.startswith("--no-")]


def _unknown(key: str, commands: Sequence[str], known: Sequence[str]) -> str:
    """Return the sentence about a *key* that the table of some *commands* does not take."""
    if commands:
        where, takes = f"[{'.'.join(commands)}] in {path()}", "it takes"
    else:
        where, takes = path(), "its tables are"
        known = [*known, _PRICES]
    meant = near(key.replace("_", "-"), known)
    advice = f"{takes} {', '.join(known)}." if meant is None else f"did you mean {meant}?"
    return f"{where} has {shorten(key)}, which is unknown; {advice}"


def prices() -> dict[str, Price]:
    """Return the prices of the file, by model; raises `UsageError`."""
    try:
        given = msgspec.convert(read().get(_PRICES, {}), _Prices)
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
