"""Virtual environments of the peers, under `.nox`, and the cores that processes run on."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent

ENVIRONMENTS: Final = {
    "1.0.7": "replicate==1.0.7",
    "2.0.0b4": "replicate==2.0.0b4",
    "2.0.0b4-aiohttp": "replicate[aiohttp]==2.0.0b4",
    "bare": "aiohttp==3.14.5 anyio==4.16.0 httpx-sse==0.4.3 httpx==0.28.1 msgspec==0.22.0",
}

ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": "16777216",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
}
"""glibc keeps freed memory; otherwise up to a fourth of a request's CPU is a matter of luck."""


def python_for(environment: str | None) -> str:
    """Return the interpreter of an environment, which is made if needed; None is this process's."""
    if environment is None:
        return sys.executable
    home = ROOT / ".nox" / f"bench-{environment}"
    python, made = home / "bin" / "python", home / "requirements.txt"
    wanted = f"{ENVIRONMENTS[environment]} pyperf==2.11.0"
    if not made.exists() or made.read_text(encoding="utf-8") != wanted:
        print(f"making the environment of {wanted}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted.split()]
        subprocess.run([str(python), *install], check=True)
        made.write_text(wanted, encoding="utf-8")
    return str(python)


def cores() -> tuple[int, int]:
    """Return the core of the server and the core of the client."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]
