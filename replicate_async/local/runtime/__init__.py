"""What runs models, and what the server sends to others."""

from __future__ import annotations
