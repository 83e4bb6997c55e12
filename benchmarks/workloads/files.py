"""Uploads of 100 MB, which is the most that the API takes, and downloads of up to 300 MB."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.contestants import AIOHTTP, AIOHTTP_FAST, OURS, OURS_FAST, PUBLISHED
from benchmarks.goals import Goal
from benchmarks.lab import Case, Lab
from benchmarks.results import Results
from benchmarks.tables import Column, megabytes, milliseconds, table

NAME: Final = "files"

_MEGABYTE: Final = 1_000_000
_WHO: Final = (OURS, OURS_FAST, AIOHTTP, AIOHTTP_FAST, *PUBLISHED)
UPLOAD: Final = "upload of 100 MB"
SIZES: Final = (3, 30, 300)
DOWNLOADS: Final = {size: f"download of {size} MB" for size in SIZES}


def measure(lab: Lab) -> None:
    """Measure everybody."""
    # In memory where there is such a place: a disk would be what is measured.
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        given, saved = Path(folder) / "given", str(Path(folder) / "saved")
        given.write_bytes(bytes(100 * _MEGABYTE // (10 if lab.quick else 1)))
        cases = [Case(UPLOAD, "upload", contestants=_WHO, arguments=(str(given),), seconds=0.01)]
        cases += [
            Case(
                title,
                "download",
                contestants=_WHO,
                arguments=(size * _MEGABYTE, saved),
                seconds=0.01,
            )
            for size, title in DOWNLOADS.items()
            if size < max(SIZES) or not lab.quick
        ]
        lab.measure(NAME, cases)


def tables(results: Results) -> str:
    """Return what is said of it, as Markdown."""
    columns: list[Column] = []
    for short, title in (("up", UPLOAD), ("down", DOWNLOADS[300])):
        columns += [
            Column(f"{title}, a second", title, "speed", megabytes),
            Column(f"CPU a MB, {short}", title, "cpu_per_mb", lambda figure: f"{figure:,.0f} µs"),
            Column(f"memory, {short}", title, "memory", megabytes, beside=None),
            Column(f"worst lag, {short}", title, "lag", milliseconds, beside=None),
        ]
    return table(results, NAME, columns, corner="files")


def goals(results: Results) -> Sequence[Goal]:
    """Return what was to be reached."""
    return [
        Goal(
            f"{title}: bytes a second beside aiohttp",
            results.ratio(NAME, title, OURS, AIOHTTP, "speed"),
            least=0.85,
        )
        for title in (UPLOAD, DOWNLOADS[300])
    ]
