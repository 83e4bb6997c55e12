"""The files operations."""

from __future__ import annotations

import hmac
from typing import Any

from aiohttp import web
from yarl import URL

from replicate_async.local.http.context import Call
from replicate_async.local.http.errors import file_not_found, problem
from replicate_async.local.http.file_response import OCTETS, answer_download
from replicate_async.local.http.multipart import read_form
from replicate_async.local.http.pagination import paginate
from replicate_async.local.http.responses import Handler, held_answer
from replicate_async.local.store.files import StoredFile

_LONGEST_NAME = 255


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
    files, limit = call.backend.files, call.backend.settings.max_file
    try:
        async with files.receive() as incoming:
            form = await read_form(call.request, incoming, limit)
            if not form.complete:
                raise problem(400, "The form has no file in a part named content")
            name = form.fields.get("filename") or form.filename or "file"
            if len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
                raise problem(400, "The filename must be at most 255 bytes long")
            metadata = form.metadata
            content = await incoming.finish()
    except ConnectionError:
        raise  # the client has gone
    except OSError as error:
        raise problem(507, f"The server cannot keep the file: {error.strerror}") from None
    kind = form.fields.get("type") or form.content_type or OCTETS
    stored = files.upload(
        call.account.username, content, name=name, content_type=kind, metadata=metadata
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
    return answer_download(call.request, stored)


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
