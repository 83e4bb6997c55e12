"""Journals whose writers are killed, whose disk fails, and whose system loses power.

    python tests/soak/journal.py

2,000 kills at counted acknowledgements and, with strace, EIO and ENOSPC at each of the first 200
writes and syncs, and 500 images of what a loss of power may leave. Prints a JSON line for each, and
fails if anything was lost that had been acknowledged.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
KILLS: Final = "2000"
LAST_CALL: Final = "200"
IMAGES: Final = "500"


def main() -> int:
    """Run each in turn; the status tells whether one failed."""
    parts = [("journal_kills", KILLS)]
    if shutil.which("strace"):
        parts += [("journal_faults", LAST_CALL), ("journal_images", IMAGES)]
    failed = 0
    for name, much in parts:
        command = [sys.executable, "-m", f"tests.runs.batch.{name}", much]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
