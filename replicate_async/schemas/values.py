"""Values that several structs have: timestamps, URLs and words from a list.

In a response, a list of words is open: any other word decodes too, while editors complete the known
ones and the generated OpenAPI document lists them. Requests take the known words only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

Timestamp: TypeAlias = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
"""A time with 0 to 9 fractional digits, rounded to microseconds."""

URL: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
"""An absolute URL, as it came."""

# The second half of each union looks redundant to a checker, and is what keeps the enum open. A
# type checker shows the words, and msgspec takes any string; `extra_json_schema` puts them where a
# reader of the document looks for them.

Status: TypeAlias = Annotated[
    Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"] | str,  # noqa: PYI051 - see above
    Meta(
        extra_json_schema={
            "type": "string",
            "enum": ["starting", "processing", "succeeded", "failed", "canceled", "aborted"],
        }
    ),
]
"""Where a prediction or training stands."""

Source: TypeAlias = Annotated[
    Literal["web", "api"] | str,  # noqa: PYI051 - see above
    Meta(extra_json_schema={"type": "string", "enum": ["web", "api"]}),
]
"""Where a prediction or training was asked for."""

AccountType: TypeAlias = Annotated[
    Literal["organization", "user"] | str,  # noqa: PYI051 - see above
    Meta(extra_json_schema={"type": "string", "enum": ["organization", "user"]}),
]
"""Who an account belongs to."""

ModelVisibility: TypeAlias = Annotated[
    Literal["public", "private"] | str,  # noqa: PYI051 - see above
    Meta(extra_json_schema={"type": "string", "enum": ["public", "private"]}),
]
"""Who can see a model."""

Visibility: TypeAlias = Literal["public", "private"]
"""Who may see a model that is created."""

WebhookEvent: TypeAlias = Literal["start", "output", "logs", "completed"]
"""What a webhook can be called for."""

SortBy: TypeAlias = Literal["model_created_at", "latest_version_created_at"]
"""What models are sorted by."""

SortDirection: TypeAlias = Literal["asc", "desc"]
"""How models are sorted."""
