"""The readers of streams that are measured; each has `connect(origin, way)`."""

from __future__ import annotations
