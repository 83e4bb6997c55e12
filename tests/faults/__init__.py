"""Faults of the network: answers that break off, are wrong, or do not come."""

from __future__ import annotations
