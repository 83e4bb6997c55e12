"""Answers as the service gave them over the years, shortened."""

from __future__ import annotations

from typing import Any, Final

JSON = dict[str, Any]

_API: Final = "https://api.replicate.com/v1"

# A create without Prefer in 2023, byte for byte in its order of keys and with nanoseconds.
EDGE_CREATE: Final = (
    b'{"id":"4awn473b2jrj20cjb2vrb55mkr","model":"stability-ai/sdxl","version":"02e5",'
    b'"input":{"prompt":"an astronaut"},"logs":"","error":null,"status":"starting",'
    b'"created_at":"2023-10-29T11:19:59.558752983Z","stream":true,"urls":{'
    b'"cancel":"https://api.replicate.com/v1/predictions/4awn473b2jrj20cjb2vrb55mkr/cancel",'
    b'"get":"https://api.replicate.com/v1/predictions/4awn473b2jrj20cjb2vrb55mkr",'
    b'"stream":"https://streaming-api.svc.us.c.replicate.net/v1/predictions/4awn"}}\n'
)

# A create with Prefer: wait in 2024: still processing, with its whole output.
BLOCKING_CREATE: Final[JSON] = {
    "id": "jp9nrd1g2hrj20cjb2vrb55mkr",
    "model": "meta/meta-llama-3-8b-instruct",
    "version": "dp-a557b3b7d2f9a5a9d2e0d3b0a7f3c1d2",
    "input": {"max_tokens": 9, "prompt": "a bear"},
    "logs": "",
    "output": ["\n\n", "Fuzzy", ", gentle", ""],
    "data_removed": False,
    "error": None,
    "status": "processing",
    "created_at": "2024-10-04T18:07:33.396Z",
    "urls": {
        "cancel": f"{_API}/predictions/jp9nrd1g2hrj20cjb2vrb55mkr/cancel",
        "get": f"{_API}/predictions/jp9nrd1g2hrj20cjb2vrb55mkr",
        "stream": "https://streaming-api.svc.rno2.c.replicate.net/v1/streams/b4yonj",
    },
}

# A cancel in 2024: nulls where the create had nothing.
CANCEL: Final[JSON] = {
    "completed_at": "2024-04-22T11:15:15.504128Z",
    "created_at": "2024-04-22T11:15:15.329000Z",
    "error": None,
    "id": "hdwst0bb05rgp0cf0p29mzk2am",
    "input": {"prompt": "a bear"},
    "logs": None,
    "metrics": {"predict_time": 3e-06, "total_time": 0.175128},
    "output": None,
    "started_at": "2024-04-22T11:15:15.375980Z",
    "status": "canceled",
    "urls": {
        "get": f"{_API}/predictions/hdwst0bb05rgp0cf0p29mzk2am",
        "cancel": f"{_API}/predictions/hdwst0bb05rgp0cf0p29mzk2am/cancel",
    },
    "model": "stability-ai/sdxl",
    "version": "39ed52f2a78e934b3ba6e2a89f5b1c712de7dfea535525255b1aa35c5565e08b",
    "webhook_completed": None,
}

# What the newest document promises.
NEWEST: Final[JSON] = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": "replicate/hello-world",
    "version": "hidden",
    "input": {"text": "Alice"},
    "logs": "",
    "output": "hello Alice",
    "data_removed": False,
    "error": "",
    "source": "api",
    "status": "succeeded",
    "created_at": "2026-03-16T12:00:00Z",
    "started_at": "2026-03-16T12:00:00.12Z",
    "completed_at": "2026-03-16T12:00:01.123456Z",
    "deadline": "2026-03-16T12:05:00Z",
    "deployment": "acme/prod",
    "metrics": {"predict_time": 1, "total_time": 1.5, "image_count": 2, "note": "custom"},
    "webhook": "https://example.com/hook?id=1",
    "webhook_events_filter": ["start", "completed"],
    "urls": {
        "cancel": f"{_API}/predictions/gm3qorzdhgbfurvjtvhg6dckhu/cancel",
        "get": f"{_API}/predictions/gm3qorzdhgbfurvjtvhg6dckhu",
        "stream": "https://stream.replicate.com/v1/files/bcwr-x",
        "web": "https://replicate.com/p/gm3qorzdhgbfurvjtvhg6dckhu",
    },
}

# An item of an old listing.
BARE_ITEM: Final[JSON] = {
    "id": "rrr4z55ocneqzikepnug6xezpe",
    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "source": "web",
    "status": "succeeded",
    "created_at": "2022-04-26T20:00:40.658234Z",
    "completed_at": "2022-04-26T20:02:27.648305Z",
    "urls": {"get": f"{_API}/predictions/rrr4z55ocneqzikepnug6xezpe"},
}

RUNNING_TRAINING: Final[JSON] = {
    "completed_at": None,
    "created_at": "2024-11-08T20:01:33.520Z",
    "error": None,
    "id": "zz4ibbonubfz7carwiefibzgga",
    "input": {"input_images": "https://example.com/i.zip"},
    "logs": None,
    "metrics": {},
    "output": None,
    "started_at": None,
    "status": "processing",
    "urls": {
        "get": f"{_API}/predictions/zz4ibbonubfz7carwiefibzgga",
        "cancel": f"{_API}/predictions/zz4ibbonubfz7carwiefibzgga/cancel",
    },
    "model": "stability-ai/sdxl",
    "version": "da77bc59ee60423279fd632efb4795ab731d9e3ca9705ef3341091fb989b7eaf",
}

TRAINING: Final[JSON] = {
    **RUNNING_TRAINING,
    "status": "succeeded",
    "completed_at": "2024-11-08T20:05:33.52048291Z",
    "logs": "10%|#         | 1/10 [00:00<00:01]\n",
    "metrics": {"predict_time": 112.5, "total_time": 112.7},
    "output": {"version": "acme/tuned:8b1e2c", "weights": "https://replicate.delivery/w.tar"},
    "source": "web",
}

FILE: Final[JSON] = {
    "id": "NGZiNmY2YzQtMThhZi00ZjcyLWFhZjktODg4NTY0NWNlMDEy",
    "name": "test_file.txt",
    "content_type": "text/plain",
    "size": 0,
    "etag": "d41d8cd98f00b204e9800998ecf8427e",
    "checksums": {
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "md5": "d41d8cd98f00b204e9800998ecf8427e",
    },
    "metadata": {},
    "created_at": "2024-08-22T12:26:51.079Z",
    "expires_at": "2024-08-23T12:26:51.079Z",
    "urls": {"get": f"{_API}/files/NGZiNmY2YzQtMThhZi00ZjcyLWFhZjktODg4NTY0NWNlMDEy"},
}

HARDWARE: Final = [
    {"sku": "cpu", "name": "CPU"},
    {"sku": "gpu-t4", "name": "Nvidia T4 GPU"},
    {"sku": "gpu-a40-small", "name": "Nvidia A40 GPU"},
    {"sku": "gpu-a40-large", "name": "Nvidia A40 (Large) GPU"},
]

VERSION: Final[JSON] = {
    "id": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "created_at": "2022-04-26T19:29:04.418669Z",
    "cog_version": "0.1.3+shimmed",
    "openapi_schema": {"components": {"schemas": {"Input": {"type": "object"}}}},
}

MODEL: Final[JSON] = {
    "url": "https://replicate.com/replicate/hello-world",
    "owner": "replicate",
    "name": "hello-world",
    "description": "A tiny model that says hello",
    "visibility": "public",
    "github_url": "https://github.com/replicate/cog-examples",
    "paper_url": None,
    "license_url": None,
    "weights_url": None,
    "run_count": 5681081,
    "cover_image_url": "https://tjzk.replicate.delivery/cover.png",
    "is_official": False,
    "default_example": CANCEL,
    "latest_version": VERSION,
    "created_at": "2022-04-26T19:29:04.418Z",
}

# models.create answers with nulls everywhere.
NEW_MODEL: Final[JSON] = {
    **MODEL,
    "run_count": 0,
    "description": None,
    "github_url": None,
    "cover_image_url": None,
    "default_example": None,
    "latest_version": None,
}

ACCOUNT: Final[JSON] = {
    "type": "organization",
    "username": "acme",
    "name": "Acme Corp, Inc.",
    "github_url": "https://github.com/acme",
    "avatar_url": "https://github.com/acme.png",
}

DEPLOYMENT: Final[JSON] = {
    "owner": "acme",
    "name": "image-upscaler",
    "current_release": {
        "number": 1,
        "model": "acme/upscaler",
        "version": VERSION["id"],
        "created_at": "2024-02-15T16:32:57.018467Z",
        "created_by": ACCOUNT,
        "configuration": {"hardware": "gpu-t4", "min_instances": 1, "max_instances": 5},
    },
}

COLLECTION_ITEM: Final[JSON] = {
    "name": "Super resolution",
    "slug": "super-resolution",
    "description": "Upscaling models",
}

COLLECTION: Final[JSON] = {**COLLECTION_ITEM, "full_description": None, "models": [MODEL]}

SEARCH: Final[JSON] = {
    "query": "hello",
    "models": [
        {
            "model": {**MODEL, "default_example": None, "latest_version": {**VERSION}},
            "metadata": {"generated_description": None, "tags": ["text"], "score": 0.9},
        }
    ],
    "collections": [{**COLLECTION_ITEM, "models": None}],
    "pages": [{"name": "Docs", "href": "/docs"}],
}

PROBLEM: Final[JSON] = {
    "detail": "- input: prompt is required\n",
    "status": 422,
    "title": "Input validation failed",
    "invalid_fields": [
        {"type": "required", "field": "input", "description": "prompt is required"},
    ],
}

THROTTLED: Final[JSON] = {
    "detail": "Request was throttled. Your rate limit resets in ~7s.",
    "status": 429,
    "retry_after": 7,
}
