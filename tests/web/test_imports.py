from __future__ import annotations

import subprocess
import sys


def said_by(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout


def test_the_encoders_load_no_framework() -> None:
    loaded = said_by("import sys, replicate_async.web; print(*sys.modules)").split()

    assert {"aiohttp", "fastapi", "httpx", "starlette"}.isdisjoint(loaded)


def test_a_missing_framework_is_named() -> None:
    said = said_by(
        "import sys\n"
        "sys.modules['starlette.responses'] = None\n"
        "try: import replicate_async.web.starlette\n"
        "except ImportError as error: print(error)"
    )

    assert "pip install starlette" in said
