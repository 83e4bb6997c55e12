"""Answers as the real service gives them: whole JSON objects, to be bent by each test."""

from __future__ import annotations

import json
from typing import Final

from tests.support.sentinel import WEBHOOK_SECRET
from tests.support.wire import Answer, Request

PREDICTION_ID: Final = "gm3qorzdhgbfurvjtvhg6dckhu"
VERSION_ID: Final = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
CREATED_AT: Final = "2026-03-16T12:00:00.123456Z"


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    """Answer with *value* as JSON; header names are written with underscores."""
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    content = (("Content-Type", "application/json"),)
    return Answer(status=status, headers=content + named, body=json.dumps(value).encode())


def problem(status: int, detail: str = "The service said no.", **headers: str) -> Answer:
    """Refuse with a problem body; nothing was acted on unless the status leaves it open."""
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    body = json.dumps({"title": "Problem", "detail": detail, "status": status}).encode() + b"\n"
    acts = status >= 500 or status in {408, 409}
    content = (("Content-Type", "application/problem+json"),)
    return Answer(status=status, headers=content + named, body=body, acts=acts)


def prediction(
    base_url: str,
    *,
    id: str = PREDICTION_ID,
    status: str = "succeeded",
    output: object = "Hello.",
    stream: str | None = None,
) -> dict[str, object]:
    done = status in {"succeeded", "failed", "canceled", "aborted"}
    streamed = {} if stream is None else {"stream": stream}
    return {
        "id": id,
        "model": "replicate/hello-world",
        "version": VERSION_ID,
        "input": {"text": "Alice"},
        "logs": "",
        "output": output if status == "succeeded" else None,
        "data_removed": False,
        "error": "it broke" if status == "failed" else None,
        "status": status,
        "created_at": CREATED_AT,
        "started_at": CREATED_AT,
        "completed_at": CREATED_AT if done else None,
        "metrics": {"predict_time": 0.1},
        "urls": {
            "get": f"{base_url}/predictions/{id}",
            "cancel": f"{base_url}/predictions/{id}/cancel",
            "web": f"https://replicate.com/p/{id}",
            **streamed,
        },
    }


def training(base_url: str, *, status: str = "starting") -> dict[str, object]:
    body = prediction(base_url, status=status)
    done = {"version": f"acme/tuned:{VERSION_ID}", "weights": "https://replicate.delivery/w.tar"}
    return {**body, "output": done if status == "succeeded" else None}


def version() -> dict[str, object]:
    return {
        "id": VERSION_ID,
        "created_at": CREATED_AT,
        "cog_version": "0.9.1",
        "openapi_schema": {"components": {"schemas": {}}},
    }


def model(owner: str = "acme", name: str = "echo") -> dict[str, object]:
    return {
        "url": f"https://replicate.com/{owner}/{name}",
        "owner": owner,
        "name": name,
        "description": "Says it again.",
        "visibility": "private",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version(),
    }


def deployment(owner: str = "acme", name: str = "prod") -> dict[str, object]:
    release = {
        "number": 1,
        "model": "acme/echo",
        "version": VERSION_ID,
        "created_at": CREATED_AT,
        "created_by": account(),
        "configuration": {"hardware": "cpu", "min_instances": 0, "max_instances": 1},
    }
    return {"owner": owner, "name": name, "current_release": release}


def file(base_url: str, *, id: str = "cneqzikepnug6xezperrr4z55o") -> dict[str, object]:
    return {
        "id": id,
        "name": "example.txt",
        "content_type": "text/plain",
        "size": 5,
        "etag": "5d41402abc4b2a76b9719d911017c592",
        "checksums": {"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"},
        "metadata": {},
        "created_at": CREATED_AT,
        "expires_at": CREATED_AT,
        "urls": {"get": f"{base_url}/files/{id}"},
    }


def account() -> dict[str, object]:
    return {
        "type": "organization",
        "username": "acme",
        "name": "Acme Corp, Inc.",
        "github_url": "https://github.com/acme",
    }


def events(*names_and_data: tuple[str, str], done: str | None = "{}") -> bytes:
    """Write events as the real service does, with ids that count up, and *done* at the end."""
    ended = () if done is None else (("done", done),)
    text = [": hi\n\n"]
    for number, (name, data) in enumerate((*names_and_data, *ended)):
        lines = "".join(f"data: {line}\n" for line in data.split("\n"))
        text.append(f"event: {name}\nid: 1690212292:{number}\n{lines}\n")
    return "".join(text).encode()


def stream_answer(body: bytes, **headers: str) -> Answer:
    """Answer with an event stream that ends with the connection."""
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    content = (("Content-Type", "text/event-stream; charset=utf-8"),)
    return Answer(headers=content + named, body=body, framing="close")


def page(
    *results: object, next: str | None = None, previous: str | None = None
) -> dict[str, object]:
    return {"next": next, "previous": previous, "results": list(results)}


def service(base_url: str, request: Request) -> Answer:
    """Answer *request* as the real service would if all went well."""
    segments = request.path.removeprefix("/v1/").split("/")
    creating = request.method == "POST"
    match segments:
        case _ if request.method == "DELETE":
            answer = Answer(status=202 if "versions" in segments else 204)
        case [*_, "predictions"] if creating:
            answer = json_answer(prediction(base_url, status="starting"), 201)
        case [*_, "trainings"] if creating:
            answer = json_answer(training(base_url), 201)
        case ["models", _, _, "readme"]:
            answer = Answer(headers=(("Content-Type", "text/plain"),), body=b"# Echo")
        case ["files", _, "download"]:
            kind = (("Content-Type", "application/octet-stream"),)
            answer = Answer(headers=kind, body=b"hello")
        case ["predictions" | "trainings" as kind, id, *rest]:
            ended = prediction(base_url, id=id, status="canceled" if rest else "succeeded")
            answer = json_answer(ended if kind == "predictions" else {**ended, "output": None})
        case ["models" | "deployments" | "files" as kind, *rest] if len(rest) < 3:
            made = {"models": model(), "deployments": deployment(), "files": file(base_url)}[kind]
            listed = not rest and request.method in {"GET", "QUERY"}
            status = 201 if creating and kind != "deployments" else 200
            answer = json_answer(page(made) if listed else made, status)
        case _:
            answer = json_answer(_reading(base_url, segments))
    return answer


def _reading(base_url: str, segments: list[str]) -> object:
    match segments:
        case ["collections", slug]:
            return {"name": slug, "slug": slug, "description": "Words.", "models": [model()]}
        case [*_, "versions", _]:
            return version()
        case [*_, "versions"]:
            return page(version())
        case ["trainings"]:
            return page(training(base_url))
        case [*_, "predictions" | "examples"]:
            return page(prediction(base_url))
        case _:
            fixed: dict[str, object] = {
                "account": account(),
                "hardware": [{"sku": "cpu", "name": "CPU"}],
                "webhooks/default/secret": {"key": WEBHOOK_SECRET},
                "collections": page({"name": "Text", "slug": "text", "description": "Words."}),
                "search": {"query": "x", "models": [], "collections": [], "pages": []},
            }
            return fixed["/".join(segments)]
