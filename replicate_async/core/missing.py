"""Names the thing that a 404 is about, by the path of the request."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from replicate_async.core.endpoint import shorten

__all__ = ["missing"]

_LONGEST: Final = 80

# By the beginning of path templates, the longest first.
_KINDS: Final = (
    (
        "/models/{model_owner}/{model_name}/versions/{version_id}",
        "version {2} of the model {0}/{1}",
    ),
    ("/models/{model_owner}/{model_name}/versions", "model {0}/{1} that has versions"),
    ("/models/{model_owner}/{model_name}/readme", "README of the model {0}/{1}"),
    (
        "/models/{model_owner}/{model_name}/predictions",
        "model {0}/{1} that runs without a version",
    ),
    ("/models/{model_owner}/{model_name}", "model {0}/{1}"),
    ("/deployments/{deployment_owner}/{deployment_name}", "deployment {0}/{1}"),
    ("/predictions/{prediction_id}", "prediction {0}"),
    ("/trainings/{training_id}", "training {0}"),
    ("/files/{file_id}", "file {0}"),
    ("/collections/{collection_slug}", "collection {0}"),
)
_PARAMETER: Final = re.compile(r"\{\w+\}")


def missing(template: str, target: str) -> str | None:
    """Return the name of the thing at *target*, a path of this *template*; None if it has none.

    An example is "prediction abc".
    """
    pattern = _PARAMETER.sub("([^/?]+)", template)
    found = re.match(pattern, target)
    kind = next((kind for start, kind in _KINDS if template.startswith(start)), None)
    if found is None or kind is None:
        return None
    return kind.format(*(_readable(unquote(name)) for name in found.groups()))


def _readable(name: str) -> str:
    return name if name.isprintable() and len(name) <= _LONGEST else shorten(name)
