"""Programs that are killed are not measured."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.unmeasured import unmeasured

LOADED = "import sys; print('coverage' in sys.modules)"


def test_a_program_that_is_to_be_killed_does_not_load_coverage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.setenv(name, "anything")

    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, env=unmeasured(), capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
