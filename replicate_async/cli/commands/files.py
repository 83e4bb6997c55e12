"""``files``: what was uploaded, and what is to be fetched."""

from __future__ import annotations

import mimetypes
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

import anyio
from cyclopts import Parameter

from replicate_async import File, NotFoundError, Replicate, TargetExistsError
from replicate_async.cli.commands.predictions import Limit, first, when
from replicate_async.cli.console import note, write, write_json, write_table
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.cli.options import DEFAULTS, Options, connect
from replicate_async.cli.progress import Bar, WatchedClient, WatchedFile
from replicate_async.context import context_of
from replicate_async.files.output import FileOutput

FileId = Annotated[str, Parameter(name="id", help="The file's id.")]
_STDOUT: Final = "-"
_SIGNED: Final = "owner, expiry and signature"


async def list_files(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List the account's uploads and how long each is kept."""
    async with connect(options) as client:
        found = await first(client.files.list(), limit)
    if options.json:
        write_json(found)
        return
    now = datetime.now(UTC)
    rows = [(f.id, _size(f.size), _left(f.expires_at, now), f.name or "") for f in found]
    write_table(("id", "size", "left", "name"), rows)


async def upload_file(
    path: Annotated[Path, Parameter(help="The file to upload, of at most 100 MB.")],
    /,
    *,
    name: Annotated[
        str | None, Parameter(help="Its name, if not the path's.", show_default=False)
    ] = None,
    type: Annotated[
        str | None, Parameter(help="Its media type, if not by its name.", show_default=False)
    ] = None,
    options: Options = DEFAULTS,
) -> None:
    """Upload a file and print its URL, which an input may hold in the file's place.

    It is kept for 24 hours.
    """
    if not await anyio.Path(path).is_file():
        raise UsageError(f"{path} is no file that can be read.")
    called = name or path.name
    kind = type or mimetypes.guess_type(called)[0]
    size = (await anyio.Path(path).stat()).st_size
    async with connect(options) as client:
        with Bar(called, size) as bar, WatchedFile(path, bar.show) as content:
            file = await client.files.create(content, filename=called, type=kind)
    if options.json:
        write_json(file)
    else:
        write(f"{file.urls.get}\n")
    if options.local:
        note("This file was the embedded server's, and is gone with it; leave out --local.")


async def get_file(id: FileId, /, *, options: Options = DEFAULTS) -> None:
    """Show what is known of an upload."""
    async with connect(options) as client:
        try:
            file = await client.files.get(id)
        except NotFoundError:
            raise _no_file(id) from None
    if options.json:
        write_json(file)
    else:
        write(_card(file))


async def delete_file(id: FileId, /, *, options: Options = DEFAULTS) -> None:
    """Delete an upload."""
    async with connect(options) as client:
        try:
            await client.files.delete(id)
        except NotFoundError:
            raise _no_file(id) from None
    write(f"deleted file {id}\n")


async def download_file(
    source: Annotated[
        str, Parameter(name="url", help="An output's URL, a signed URL of an upload, or its id.")
    ],
    /,
    *,
    output: Annotated[
        str,
        Parameter(
            name=("--output", "-o"),
            help="A file, a folder, or - to print it.",
            allow_leading_hyphen=True,
            show_default=False,
        ),
    ] = ".",
    force: Annotated[
        bool, Parameter(help="Replace a file that is there already.", show_default=False)
    ] = False,
    owner: Annotated[
        str | None, Parameter(help="With an id: who uploaded it.", show_default=False)
    ] = None,
    expiry: Annotated[
        int | None, Parameter(help="With an id: until when, Unix time.", show_default=False)
    ] = None,
    signature: Annotated[
        str | None, Parameter(help="With an id: what the API signed.", show_default=False)
    ] = None,
    options: Options = DEFAULTS,
) -> None:
    """Fetch a file and print where it was saved.

    In a folder it gets the name that its host gives it, and a number if there is one of that name.
    Nothing is replaced without --force, and nothing half-fetched is left under its name.
    """
    if output.startswith("-") and output != _STDOUT:
        raise UsageError(f"--output takes a file or a folder, not {output}; write ./{output}.")
    signed = {"owner": owner, "expiry": expiry, "signature": signature}
    async with connect(options) as client:
        file = FileOutput(_url(client, source, signed))
        with Bar(file.name) as bar:
            file.with_client(WatchedClient(client, bar.show))
            if output == _STDOUT:
                await _print(file)
                return
            try:
                path = await file.save(output, overwrite=force)
            except TargetExistsError:
                raise CommandError(f"{output} is there already; --force replaces it.") from None
    if options.json:
        write_json({"path": str(path), "size": file.size, "content_type": file.content_type})
    else:
        write(f"{path}\n")


async def _print(file: FileOutput) -> None:
    """Write the bytes of *file* to stdout, in a thread: who reads there may be slow."""

    def put(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    async for chunk in file:
        await anyio.to_thread.run_sync(put, chunk)


def _url(client: Replicate, source: str, signed: dict[str, str | int | None]) -> str:
    """Return where *source* is, which is an upload's id or a URL itself."""
    given = {key: value for key, value in signed.items() if value is not None}
    if ":" in source:
        if given:
            raise UsageError(f"{_SIGNED} go with an id; a URL has them in itself.")
        return _checked(source)
    if len(given) == len(signed):
        return f"{context_of(client).base.url}/files/{source}/download?{urlencode(given)}"
    raise UsageError(
        f"The API gives out the bytes of an upload only with --owner, --expiry and --signature; "
        f"'replicate-async files get {source}' shows what is known of it."
    )


def _checked(url: str) -> str:
    """Return *url*; refuses those of an upload that lead to its metadata."""
    path = urlsplit(url).path
    if "/v1/files/" in path and not path.endswith("/download"):
        raise UsageError(
            "This URL stands for an upload in an input; fetching it gives no more than "
            "'replicate-async files get' does. The bytes have a signed URL that ends in /download."
        )
    return url


def _card(file: File) -> str:
    fields = {
        "id": file.id,
        "name": file.name,
        "type": file.content_type,
        "size": f"{file.size:,} bytes" if file.size is not None else None,
        "sha256": file.checksums.sha256 if file.checksums is not None else None,
        "created": when(file.created_at),
        "expires": when(file.expires_at),
        "url": str(file.urls.get),
    }
    lines = [f"{name:<9}{value}" for name, value in fields.items() if value]
    lines += [f"{'metadata':<9}{key}={value}" for key, value in (file.metadata or {}).items()]
    return "\n".join(lines) + "\n"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def _left(until: datetime | None, now: datetime) -> str:
    minutes = 0 if until is None else round((until - now).total_seconds() / 60)
    if minutes <= 0:
        return ""
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} h"


def _no_file(id: str) -> CommandError:
    return CommandError(f"There is no file {id}: it has expired, or belongs to another account.")
