"""``files``: uploads, and downloads of outputs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

from cyclopts import App, Parameter
from rich.filesize import decimal

from replicate_async import File, Replicate
from replicate_async.cli.console import clock, note, write, write_card, write_json
from replicate_async.cli.errors import UsageError
from replicate_async.cli.options import (
    DEFAULTS,
    PARAMETER,
    ExistingFile,
    Limit,
    Options,
    OutputText,
    connect,
)
from replicate_async.cli.output_files import save_file
from replicate_async.cli.progress import FileProgress, MeteredFile
from replicate_async.cli.records import show_list, show_record
from replicate_async.context import context_of
from replicate_async.files.output import FileOutput
from replicate_async.files.uploads import sendable_name

app: App = App(
    name="files",
    help="Upload, list and delete files; download outputs.",
    default_parameter=PARAMETER,
)

FileId = Annotated[str, Parameter(name="id", help="The id of the file.")]
_STDOUT: Final = "-"
_SCHEMES: Final = {"http", "https", "data"}


@app.command(name="list")
async def list_files(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List the uploads of the account and how long each is kept.

    $ replicate-async files list
    """
    header = ("id", "size", "left", "name")
    await show_list(options, lambda client: client.files.list(), limit, header, _row)


@app.command(name="upload")
async def upload_file(
    path: ExistingFile,
    /,
    *,
    name: str | None = None,
    type: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Upload a file and print its URL, which stands for the file in an input.

    It is kept for 24 hours.

    $ replicate-async files upload photo.jpg

    Args:
        path: The file, of at most 100 MB.
        name: Its name; by default that of the path.
        type: Its media type; by default by its name.
    """
    filename = name or sendable_name(path.name)
    size = (await asyncio.to_thread(path.stat)).st_size

    async def upload(client: Replicate) -> File:
        with FileProgress(filename, size) as progress, MeteredFile(path, progress.show) as content:
            return await client.files.create(content, filename=filename, type=type)

    await show_record(options, filename, upload, lambda file: write(f"{file.urls.get}\n"))
    if options.local:
        note("The embedded server has ended, and the file with it; leave out --local.")


@app.command(name="get")
async def get_file(id: FileId, /, *, options: Options = DEFAULTS) -> None:
    """Show an upload.

    $ replicate-async files get ZDMyNjRlNTgtMWVkOC00NzZm
    """
    await show_record(options, _named(id), lambda client: client.files.get(id), _show)


@app.command(name="delete")
async def delete_file(id: FileId, /, *, options: Options = DEFAULTS) -> None:
    """Delete an upload.

    $ replicate-async files delete ZDMyNjRlNTgtMWVkOC00NzZm
    """

    async def delete(client: Replicate) -> dict[str, str]:
        await client.files.delete(id)
        return {"deleted": id}

    await show_record(options, _named(id), delete, lambda _: write(f"deleted file {id}\n"))


@app.command(name="download")
async def download_file(
    source: Annotated[str, Parameter(name="url")],
    /,
    *,
    output: Annotated[OutputText, Parameter(allow_leading_hyphen=True)] = ".",
    force: bool = False,
    owner: str | None = None,
    expiry: int | None = None,
    signature: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Download a file and print where it was saved.

    In a folder it gets the name that its host gives, and a number if that name is taken.
    Nothing is replaced without --force, and no part of a file gets its name.

    $ replicate-async files download "$URL" --output pictures/

    Args:
        source: The URL of an output, the signed URL of an upload, or the id of an upload.
        output: A file, a folder, or - to print it.
        force: Replace an existing file.
        owner: With an id: the account that uploaded it.
        expiry: With an id: when the signature expires, in Unix time.
        signature: With an id: the signature of the API.
    """
    if output.startswith("-") and output != _STDOUT:
        raise UsageError(f"--output takes a file or a folder, not {output}; write ./{output}.")
    signed = {"owner": owner, "expiry": expiry, "signature": signature}
    async with connect(options) as client:
        file = FileOutput(_url(client, source, signed)).with_client(client)
        with FileProgress(file.name) as progress:
            if output == _STDOUT:
                await _print(file, progress)
                return
            path = await save_file(file, output, progress, force=force)
    if options.json:
        write_json({"path": str(path), "size": file.size, "content_type": file.content_type})
    else:
        write(f"{path}\n")


async def _print(file: FileOutput, progress: FileProgress) -> None:
    """Write the bytes of *file* to stdout, in a thread: its reader may be slow."""

    def put(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    done = 0
    async for chunk in file:
        await asyncio.to_thread(put, chunk)
        done += len(chunk)
        progress.show(done, file.size)


def _named(file_id: str) -> str:
    return f"file {file_id} (uploads are kept for 24 hours)"


def _url(client: Replicate, source: str, signed: dict[str, str | int | None]) -> str:
    """Return the URL of the bytes of *source*, which is an upload's id or a URL itself."""
    given = {key: value for key, value in signed.items() if value is not None}
    if ":" not in source:
        if len(given) == len(signed):
            return f"{context_of(client).base.url}/files/{source}/download?{urlencode(given)}"
        raise UsageError(
            "The API gives out the bytes of an upload only with --owner, --expiry and --signature; "
            f"'replicate-async files get {source}' shows the upload."
        )
    if given:
        raise UsageError("--owner, --expiry and --signature go with an id; a URL contains them.")
    try:
        scheme, _, path, *_ = urlsplit(source)
    except ValueError:
        scheme = path = ""
    if scheme not in _SCHEMES:
        raise UsageError(f"{source} is not a URL of a file; it begins with https://.")
    if "/v1/files/" in path and not path.endswith("/download"):
        raise UsageError(
            "This URL stands for an upload in an input, and returns what 'replicate-async files "
            "get' shows. The bytes have a signed URL that ends in /download."
        )
    return source


def _row(file: File) -> Sequence[str]:
    size = "" if file.size is None else decimal(file.size)
    return file.id, size, _left(file.expires_at), file.name or ""


def _show(file: File) -> None:
    write_card(
        {
            "id": file.id,
            "name": file.name,
            "type": file.content_type,
            "size": f"{file.size:,} bytes" if file.size is not None else None,
            "sha256": file.checksums.sha256 if file.checksums is not None else None,
            "created": clock(file.created_at),
            "expires": clock(file.expires_at),
            "url": file.urls.get,
        },
        *(("metadata", f"{key}={value}") for key, value in (file.metadata or {}).items()),
    )


def _left(until: datetime | None) -> str:
    minutes = 0 if until is None else round((until - datetime.now(UTC)).total_seconds() / 60)
    if minutes <= 0:
        return ""
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} h"
