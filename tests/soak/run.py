"""Run every soak, or those that are named: `python tests/soak/run.py streams`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent


def main(names: list[str]) -> int:
    """Run the scripts beside this one in turn; each prints a JSON line and fails by itself."""
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in {"run", "__init__"})
    failed = 0
    for name in names or known:
        print(name, flush=True)
        command = [sys.executable, str(HERE / f"{name}.py")]
        failed |= subprocess.run(command, cwd=HERE.parents[1], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
