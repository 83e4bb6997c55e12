"""The environment of a program that is killed: its coverage is not measured."""

from __future__ import annotations

import os
from collections.abc import Mapping


def unmeasured(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return *env* without the variables that make a child process measure its coverage.

    A program that is killed while it writes its data leaves half a file, of which coverage then
    warns that it is malformed.
    """
    return {name: value for name, value in env.items() if not name.startswith("COVERAGE")}
