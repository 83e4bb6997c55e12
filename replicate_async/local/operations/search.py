"""The search operation: words in names, descriptions and readmes, weighted by place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import django
from replicate_async.local.http.responses import Response, django_response
from replicate_async.local.store.records import Collection, Model

_WORD = re.compile(r"\w+")
_LONGEST = 1000
PAGES: Mapping[str, str] = {
    "HTTP API": "/docs/reference/http",
    "Create a prediction": "/docs/topics/predictions/create-a-prediction",
    "Streaming output": "/docs/topics/predictions/streaming",
    "Webhooks": "/docs/topics/webhooks",
    "Deployments": "/docs/topics/deployments",
    "Fine-tune a model": "/docs/topics/models/fine-tune",
    "Rate limits": "/docs/topics/predictions/rate-limits",
}


async def search(context: RequestContext) -> Response:
    """Answer search: models, collections and pages of the documentation."""
    query = context.request.query.get("query", "")
    if not query.strip():
        raise django(400, 'Query parameter "query" is required')
    limit = _limit(context.request.query.get("limit", "20"))
    store = context.store
    models = ranked(store.public_models(), query)[:limit]
    return django_response(
        {
            "query": query,
            "models": [
                {"model": context.serialize.model(model), "metadata": _metadata(model, score)}
                for model, score in models
            ],
            "collections": [
                {
                    "name": item.name,
                    "slug": item.slug,
                    "description": item.description,
                    "models": [model.ref for model in item.models],
                }
                for item in store.collections.values()
                if _score(query, _collection_texts(item))
            ],
            "pages": [
                {"name": name, "href": href}
                for name, href in PAGES.items()
                if _score(query, {name: 1.0})
            ],
        }
    )


def ranked(models: Iterable[Model], query: str) -> list[tuple[Model, float]]:
    """Return the models that match *query*, with their scores, the best first."""
    scored = [(model, _score(query, _model_texts(model))) for model in models]
    found = [(model, score) for model, score in scored if score]
    return sorted(found, key=lambda entry: (-entry[1], -entry[0].run_count, entry[0].ref))


def _score(query: str, texts: Mapping[str, float]) -> float:
    """Return how well *query* matches *texts* with weights; zero if a word is in none."""
    wanted = _words(query[:_LONGEST])
    if not wanted:
        return 0.0
    total = 0.0
    for word in wanted:
        best = max((_match(word, text) * weight for text, weight in texts.items()), default=0.0)
        if not best:
            return 0.0
        total += best
    return round(total / (len(wanted) * max(texts.values())), 4)


def _match(word: str, text: str) -> float:
    words = _words(text)
    if word in words:
        return 1.0
    if any(found.startswith(word) for found in words):
        return 0.6
    return 0.3 if len(word) > 2 and word in text.lower() else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("_", " "))


def _model_texts(model: Model) -> dict[str, float]:
    texts = {model.readme or "": 0.2, model.description or "": 0.5, model.owner: 0.7}
    return texts | {model.name: 1.0}


def _collection_texts(collection: Collection) -> dict[str, float]:
    return {collection.description: 0.5, f"{collection.name} {collection.slug}": 1.0}


def _metadata(model: Model, score: float) -> dict[str, Any]:
    words = [word for word in _words(model.description or "") if len(word) > 4]
    return {
        "generated_description": model.description,
        "tags": list(dict.fromkeys(words))[:5],
        "score": score,
    }


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= 50:
        return int(text)
    raise django(400, 'Query parameter "limit" must be between 1 and 50')


HANDLERS: dict[str, Handler] = {"search": search}
