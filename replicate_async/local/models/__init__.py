"""Python code as models: annotations, schemas and execution."""

from __future__ import annotations
