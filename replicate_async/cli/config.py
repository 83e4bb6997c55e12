"""The file of defaults: a table of options for each command."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Final

from replicate_async.cli.errors import UsageError
from replicate_async.cli.options import expand_home

_PATH: Final = "~/.config/replicate-async/config.toml"
"""Not in the working directory: a file of a project must not say where the token is sent."""


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
