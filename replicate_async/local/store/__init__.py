"""What the embedded server keeps: records, files and events."""

from __future__ import annotations
