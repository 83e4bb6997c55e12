"""Files to save, and the saved ones."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from replicate_async import FileOutput


def here(data: bytes = b"x", kind: str = "image/png") -> FileOutput:
    """Return a file that needs no network."""
    return FileOutput(f"data:{kind},{quote(data)}")


def pattern(name: str, given: str, number: int, host: str) -> str:
    """Return the name of a file by a user's own pattern."""
    return f"{name}{given and host}" if number else ""


def inside(folder: Path) -> dict[str, bytes]:
    """Return every file below *folder*; there must be nothing else."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        assert path.resolve().is_relative_to(folder.resolve())
        assert path.is_file()
        found[path.name] = path.read_bytes()
    return found
