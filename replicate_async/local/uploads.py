"""The files operations, and the delivery of output files."""

from __future__ import annotations

import hmac
import re
from typing import Any

import msgspec
from aiohttp import BodyPartReader, MultipartReader, web
from yarl import URL

from replicate_async.local.answers import Handler, held_answer
from replicate_async.local.calls import Call
from replicate_async.local.files import Delivery, StoredFile
from replicate_async.local.pages import paginate
from replicate_async.local.problems import JSON, Problem, file_not_found, not_found, problem

OCTETS = "application/octet-stream"
_LONGEST_NAME = 255
_FIELD_LIMIT = 64 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def list_all(call: Call) -> web.Response:
    """Answer files.list."""
    page = paginate(
        call.backend.files.uploads_of(call.account),
        URL(call.base + call.request.raw_path, encoded=True),
        size=call.backend.settings.page_size,
        position=lambda stored: stored.created,
        view=lambda stored: _view(call, stored),
    )
    return held_answer(page)


async def create(call: Call) -> web.Response:
    """Answer files.create: a form with the content, and perhaps name, type and metadata."""
    form = await _read_form(call)
    content = form.get("content")
    if not isinstance(content, bytes):
        raise problem(400, "The form has no file in a part named content")
    name = form.get("filename") or form.get("content.filename") or "file"
    if len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
        raise problem(400, "The filename must be at most 255 bytes long")
    kind = form.get("type") or form.get("content.type") or OCTETS
    stored = call.backend.files.upload(
        call.account.username,
        content,
        name=name,
        content_type=kind,
        metadata=_metadata(form.get("metadata", "")),
    )
    return held_answer(_view(call, stored), 201)


async def get(call: Call) -> web.Response:
    """Answer files.get: what is known of the file, not its content."""
    return held_answer(_view(call, _find(call)))


async def delete(call: Call) -> web.Response:
    """Answer files.delete."""
    stored = _find(call)
    call.backend.files.remove(stored.id)
    return web.Response(status=204, headers={"Content-Type": "text/plain; charset=UTF-8"})


async def download(call: Call) -> web.Response:
    """Answer files.download, if owner, expiry and signature agree."""
    files, query = call.backend.files, call.request.query
    owner, expiry, file_id = query.get("owner", ""), query.get("expiry", ""), call.path["file_id"]
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 16):
        raise file_not_found()
    expected = files.signature(owner, file_id, int(expiry)).encode()
    given = query.get("signature", "").encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(expected, given) or int(expiry) <= call.backend.clock.now():
        raise file_not_found()
    stored = files.find(file_id, owner)
    return web.Response(
        body=stored.content,
        headers={
            "Content-Type": OCTETS,
            "Content-Disposition": "attachment",
            "ETag": f'"{stored.md5}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def answer_delivery(request: web.Request, delivery: Delivery | None) -> web.Response:
    """Answer with an output file, or the range of it that is asked for."""
    if delivery is None:
        raise not_found()
    headers = {
        "Content-Type": delivery.content_type,
        "Accept-Ranges": "bytes",
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "public, max-age=3600",
        "ETag": delivery.etag,
        "X-Content-Type-Options": "nosniff",
    }
    if delivery.etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers={"ETag": delivery.etag})
    content = delivery.content
    span = _span(request, delivery)
    if span is None:
        return web.Response(body=content, headers=headers)
    first, last = span
    if first > last:
        headers["Content-Range"] = f"bytes */{len(content)}"
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return web.Response(status=206, body=content[first : last + 1], headers=headers)


def _span(request: web.Request, delivery: Delivery) -> tuple[int, int] | None:
    """Return the first and last byte asked for, the last before the first if there are none."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or not (match[1] or match[2]):
        return None
    if request.headers.get("If-Range", delivery.etag) != delivery.etag:
        return None
    end = len(delivery.content) - 1
    if not match[1]:
        count = int(match[2])
        return (max(0, end + 1 - count), end) if count else (1, 0)
    first = int(match[1])
    last = min(int(match[2]), end) if match[2] else end
    return (first, last) if first <= end and first <= last else (1, 0)


async def _read_form(call: Call) -> dict[str, Any]:
    request = call.request
    if not request.content_type.lower().startswith("multipart/"):
        raise problem(415, "Upload files as multipart/form-data")
    form: dict[str, Any] = {}
    try:
        reader = await request.multipart()
        async for part in reader:
            if isinstance(part, MultipartReader):
                raise problem(400, "The form has a part that is a form itself")
            if isinstance(part, BodyPartReader):
                await _read_part(part, form, call.backend.settings.max_file)
    except (ValueError, AssertionError, web.RequestPayloadError) as error:
        raise problem(400, f"The form is malformed: {error}") from None
    return form


async def _read_part(part: BodyPartReader, form: dict[str, Any], limit: int) -> None:
    name = part.name or ""
    file = name == "content"
    content = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        content += chunk
        if file and len(content) >= limit:
            detail = f"Files must be less than {limit // 1_000_000}MB in size"
            raise Problem(413, {"detail": detail}, content_type=JSON)
        if not file and len(content) > _FIELD_LIMIT:
            raise problem(400, "A field of the form is too large")
    if file:
        form["content"] = bytes(content)
        form["content.filename"] = part.filename
        form["content.type"] = part.headers.get("Content-Type")
    elif name in {"filename", "type", "metadata"}:
        form[name] = bytes(content).decode("utf-8", "replace")


def _metadata(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise problem(400, "The metadata must be a JSON object") from None


def _find(call: Call) -> StoredFile:
    return call.backend.files.find(call.path["file_id"], call.account.username)


def _view(call: Call, stored: StoredFile) -> dict[str, Any]:
    digits = call.backend.settings.timestamp_digits
    return stored.view(call.base, 3 if digits is None else digits)


HANDLERS: dict[str, Handler] = {
    "files.list": list_all,
    "files.create": create,
    "files.get": get,
    "files.delete": delete,
    "files.download": download,
}
