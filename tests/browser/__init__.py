"""The example pages in a real browser; `nox -s browser` runs these."""

from __future__ import annotations
