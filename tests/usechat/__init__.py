"""Message streams read by the AI SDK itself; `nox -s usechat` runs these."""

from __future__ import annotations
