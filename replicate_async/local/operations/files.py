"""The files operations."""

from __future__ import annotations

import hmac

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import file_not_found, problem
from replicate_async.local.http.file_response import OCTETS, download_response
from replicate_async.local.http.multipart import read_form
from replicate_async.local.http.responses import Response, empty_response, held_response
from replicate_async.local.store.files import StoredFile

_LONGEST_NAME = 255


async def list_all(context: RequestContext) -> Response:
    """Answer files.list."""
    page = context.page(
        context.store.files.uploads_of(context.account.username),
        lambda stored: context.serialize.file(stored, context.origin),
    )
    return held_response(page)


async def create(context: RequestContext) -> Response:
    """Answer files.create: a form with the content, and optional name, type and metadata."""
    files, limit = context.store.files, context.settings.max_file
    try:
        async with files.receive() as incoming:
            form = await read_form(context.request, incoming, limit)
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
        context.account.username, content, name=name, content_type=kind, metadata=metadata
    )
    return held_response(context.serialize.file(stored, context.origin), 201)


async def get(context: RequestContext) -> Response:
    """Answer files.get: the metadata of the file."""
    return held_response(context.serialize.file(_find(context), context.origin))


async def delete(context: RequestContext) -> Response:
    """Answer files.delete."""
    stored = _find(context)
    context.store.files.remove(stored.id)
    return empty_response(headers={"Content-Type": "text/plain; charset=UTF-8"})


async def download(context: RequestContext) -> Response:
    """Answer files.download, if the signature fits owner and expiry."""
    files, query = context.store.files, context.request.query
    owner, expiry, file_id = (
        query.get("owner", ""),
        query.get("expiry", ""),
        context.path["file_id"],
    )
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 16):
        raise file_not_found()
    expected = files.signature(owner, file_id, int(expiry)).encode()
    given = query.get("signature", "").encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(expected, given) or int(expiry) <= context.clock.now():
        raise file_not_found()
    return download_response(context.request, _find(context, owner))


def _find(context: RequestContext, owner: str | None = None) -> StoredFile:
    stored = context.store.files.find(context.path["file_id"], owner or context.account.username)
    if stored is None:
        raise file_not_found()
    return stored


HANDLERS: dict[str, Handler] = {
    "files.list": list_all,
    "files.create": create,
    "files.get": get,
    "files.delete": delete,
    "files.download": download,
}
