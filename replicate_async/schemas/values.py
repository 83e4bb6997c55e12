"""Types of values that several structs share: timestamps, URLs and enums.

In answers, enums are open: unknown words decode too, while type checkers and editors know the known
ones and the generated OpenAPI document lists them. Requests take known words only.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from msgspec import Meta

Timestamp: TypeAlias = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
"""A time with 0 to 9 fractional digits, rounded to microseconds."""

URL: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uri"})]
"""An absolute URL, unchanged."""

T = TypeVar("T")

if TYPE_CHECKING:
    Open: TypeAlias = Annotated[T, "any string"]
    """An enum of an answer: the words that are known, so that type checkers flag a misspelt one."""
else:

    class Open:
        """An enum of an answer: msgspec takes any string, and the OpenAPI document lists words."""

        def __class_getitem__(cls, words: Any) -> Any:
            schema = {"type": "string", "enum": list(get_args(words))}
            return Annotated[words | str, Meta(extra_json_schema=schema)]


Status: TypeAlias = Open[
    Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
]
"""The status of a prediction or training. One that the API has added since is a string, too."""

Source: TypeAlias = Open[Literal["web", "api"]]
"""Where a prediction or training was created."""

AccountType: TypeAlias = Open[Literal["organization", "user"]]
"""The kind of an account."""

ModelVisibility: TypeAlias = Open[Literal["public", "private"]]
"""Who can see a model, in responses."""

Visibility: TypeAlias = Literal["public", "private"]
"""Who can see a model, in requests."""

WebhookEvent: TypeAlias = Literal["start", "output", "logs", "completed"]
"""An event that a webhook is called for."""

SortBy: TypeAlias = Literal["model_created_at", "latest_version_created_at"]
"""The field that models are sorted by."""

SortDirection: TypeAlias = Literal["asc", "desc"]
"""The direction in which models are sorted."""
