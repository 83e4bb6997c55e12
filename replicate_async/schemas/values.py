"""Types of values that several structs share: timestamps, URLs and enums.

In responses, enums are open: unknown words decode too, while editors complete the known ones and
the generated OpenAPI document lists them. Requests take known words only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

Timestamp: TypeAlias = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
"""A time with 0 to 9 fractional digits, rounded to microseconds."""

URL: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
"""An absolute URL, unchanged."""

# `| str` keeps each enum open: msgspec takes any string, type checkers show the words, and
# `extra_json_schema` lists them in the generated document.

Status: TypeAlias = Annotated[
    Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"] | str,  # noqa: PYI051 - see above
    Meta(
        extra_json_schema={
            "type": "string",
            "enum": ["starting", "processing", "succeeded", "failed", "canceled", "aborted"],
        }
    ),
]
"""The status of a prediction or training."""

Source: TypeAlias = Annotated[
    Literal["web", "api"] | str,  # noqa: PYI051 - see above
    Meta(extra_json_schema={"type": "string", "enum": ["web", "api"]}),
]
"""Where a prediction or training was created."""

AccountType: TypeAlias = Annotated[
    Literal["organization", "user"] | str,  # noqa: PYI051 - see above
    Meta(extra_json_schema={"type": "string", "enum": ["organization", "user"]}),
]
"""The kind of an account."""

ModelVisibility: TypeAlias = Annotated[
    Literal["public", "private"] | str,  # noqa: PYI051 - see above
    Meta(extra_json_schema={"type": "string", "enum": ["public", "private"]}),
]
"""Who can see a model, in responses."""

Visibility: TypeAlias = Literal["public", "private"]
"""Who can see a model, in requests."""

WebhookEvent: TypeAlias = Literal["start", "output", "logs", "completed"]
"""An event that a webhook is called for."""

SortBy: TypeAlias = Literal["model_created_at", "latest_version_created_at"]
"""The field that models are sorted by."""

SortDirection: TypeAlias = Literal["asc", "desc"]
"""The direction in which models are sorted."""
