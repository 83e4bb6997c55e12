"""Trouble on the wire: what the client does when answers break, lie, or do not come."""

from __future__ import annotations
