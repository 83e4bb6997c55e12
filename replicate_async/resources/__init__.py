"""The operations of the API: the table of endpoints, and the resources that call them."""

from __future__ import annotations

from replicate_async.resources.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
