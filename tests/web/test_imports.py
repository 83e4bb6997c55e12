from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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


def test_a_fastapi_that_loses_line_ends_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "fastapi"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0.140.13"')
    (package / "sse.py").write_text("class ServerSentEvent: ...")
    said = said_by(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "try: import replicate_async.web.fastapi\n"
        "except ImportError as error: print(error)"
    )

    assert "0.140.13" in said
    assert "pip install -U fastapi" in said
