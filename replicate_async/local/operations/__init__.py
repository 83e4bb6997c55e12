"""One module for each resource of the API, as in `replicate_async.resources`."""

from __future__ import annotations
