"""``files``, as programs, against an embedded server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import anyio
import pytest

from replicate_async import OutputExpiredError, Replicate, UntrustedURLError
from replicate_async.cli.commands.files import (
    delete_file,
    download_file,
    get_file,
    list_files,
    upload_file,
)
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.cli.options import Options
from replicate_async.local import LocalReplicate, OutputFile
from tests.cli.program import Terminal, environment, run, start

pytestmark = pytest.mark.anyio

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
DATA = bytes(range(256)) * 2000


@pytest.fixture
async def url(server: LocalReplicate) -> str:
    """Return the URL of an output file."""

    @server.model("acme/make", official=True)
    def make() -> OutputFile:
        return OutputFile(DATA, "my data.bin")

    async with Replicate(server.api_token, base_url=server.url) as client:
        return str(await client.run("acme/make", {}))


@pytest.mark.skipif(sys.platform != "linux", reason="a name is any bytes on Linux")
async def test_a_file_whose_name_is_not_utf_8_is_uploaded(
    server: LocalReplicate, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    await anyio.Path(path).write_bytes(DATA)

    uploaded = await run("files", "upload", str(path), server=server)
    listed = await run("files", "list", server=server)

    assert (uploaded.code, uploaded.err) == (0, "")
    assert listed.out.rstrip().endswith("caf_.txt")


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/stdin there")
async def test_a_pipe_is_uploaded(server: LocalReplicate) -> None:
    upload = await start(
        "files", "upload", "/dev/stdin", "--json", env=environment(server), stdin=PIPE
    )
    out, err = await upload.communicate(DATA)

    assert err == b""
    assert json.loads(out)["size"] == len(DATA)


async def test_a_file_is_uploaded_listed_shown_used_and_deleted(
    server: LocalReplicate, tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "a cat.png").write_bytes(DATA)

    uploaded = await run("files", "upload", str(tmp_path / "a cat.png"), server=server)
    file_id = uploaded.out.strip().rpartition("/")[2]
    listed, shown, used = await asyncio.gather(
        run("files", "list", server=server),
        run("files", "get", file_id, server=server),
        run("run", "acme/measure", f"file={uploaded.out.strip()}", server=server),
    )
    deleted = await run("files", "delete", file_id, server=server)

    assert (uploaded.out, uploaded.err) == (f"{server.url}/files/{file_id}\n", "")
    assert listed.out == f"{file_id}\t512.0 kB\t24 h\ta cat.png\n"
    assert "name     a cat.png\ntype     image/png\nsize     512,000 bytes\n" in shown.out
    assert f"sha256   {hashlib.sha256(DATA).hexdigest()}\n" in shown.out
    assert used.out == "512000 bytes of image/png\n"
    assert deleted.out == f"deleted file {file_id}\n"


async def test_an_output_is_saved_in_a_folder_under_its_name(
    server: LocalReplicate, url: str, tmp_path: Path
) -> None:
    first = await run("files", "download", url, "-o", str(tmp_path), server=server)
    second = await run("files", "download", url, "-o", str(tmp_path), "--json", server=server)

    path = Path(first.out.strip())
    assert (first.err, path.name) == ("", "my data.bin")
    assert path.read_bytes() == DATA  # noqa: ASYNC240 - it is small
    told = json.loads(second.out)
    assert (told["size"], told["content_type"]) == (len(DATA), "application/octet-stream")
    assert Path(told["path"]) != path


async def test_a_file_is_replaced_by_force_only(
    server: LocalReplicate, url: str, tmp_path: Path
) -> None:
    target = anyio.Path(tmp_path / "data.bin")
    await target.write_bytes(b"mine")

    refused = await run("files", "download", url, "-o", str(target), server=server)
    kept = await target.read_bytes()
    forced = await run("files", "download", url, f"--output={target}", "--force", server=server)

    assert (refused.code, kept) == (1, b"mine")
    assert refused.err == f"error: {target} exists; --force replaces it.\n"
    assert (forced.code, await target.read_bytes()) == (0, DATA)


async def test_a_dash_is_stdout(server: LocalReplicate, url: str) -> None:
    process = await start("files", "download", url, "-o", "-", env=environment(server))
    out, err = await process.communicate()

    assert (process.returncode, out, err) == (0, DATA, b"")


@pytest.fixture
def here(server: LocalReplicate, monkeypatch: pytest.MonkeyPatch) -> LocalReplicate:
    """Return the server, to which commands go that are called in this process."""
    monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.api_token)
    return server


async def test_an_upload_is_downloaded_with_its_signature(
    here: LocalReplicate, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "x.txt").write_bytes(b"hello")
    await upload_file(tmp_path / "x.txt")
    file_id = capsys.readouterr().out.strip().rpartition("/")[2]
    signed = here.sign_download(file_id, expiry=2**40)

    owner, signature = signed["owner"], signed["signature"]
    await download_file(
        file_id, output=f"{tmp_path}/back", owner=owner, expiry=2**40, signature=signature
    )
    assert await anyio.Path(tmp_path / "back").read_bytes() == b"hello"
    with pytest.raises(UsageError, match="only with --owner, --expiry and --signature"):
        await download_file(file_id, owner=owner)
    with pytest.raises(UsageError, match="go with an id"):
        await download_file(f"{here.url}/x", owner=owner)
    with pytest.raises(UsageError, match="have a signed URL"):
        await download_file(f"{here.url}/files/{file_id}")


async def test_a_missing_file_is_an_error(here: LocalReplicate, url: str, tmp_path: Path) -> None:
    for command in (get_file, delete_file):
        with pytest.raises(CommandError, match=r"no file nope \(uploads are kept for 24 hours\)"):
            await command("nope")
    missing = await run("files", "upload", str(tmp_path / "x"), server=here)
    assert (missing.code, "does not exist" in missing.err) == (2, True)
    with pytest.raises(UsageError, match="takes a file or a folder, not --force"):
        await download_file(url, output="--force")
    with pytest.raises(UntrustedURLError):
        await download_file("http://10.0.0.1/x")
    here.advance(3601)
    with pytest.raises(OutputExpiredError):
        await download_file(url, output=str(tmp_path))
    assert [path async for path in anyio.Path(tmp_path).iterdir()] == []


async def test_an_upload_has_the_name_and_type_that_it_is_given(
    here: LocalReplicate, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "x").write_bytes(b"{}")

    await upload_file(
        tmp_path / "x", name="y.bin", type="application/json", options=Options(json=True)
    )
    file = json.loads(capsys.readouterr().out)
    await list_files(options=Options(json=True))
    listed = json.loads(capsys.readouterr().out)
    await get_file(file["id"], options=Options(json=True))

    assert (file["name"], file["content_type"], file["size"]) == ("y.bin", "application/json", 2)
    assert listed == [file]
    assert json.loads(capsys.readouterr().out) == file


async def test_sizes_and_times_are_round(
    here: LocalReplicate, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for size in (7, 1500, 2_000_000):
        await anyio.Path(tmp_path / "x").write_bytes(bytes(size))
        await upload_file(tmp_path / "x")
    capsys.readouterr()
    await list_files()

    rows = [line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["2.0 MB", "24 h", "x"], ["1.5 kB", "24 h", "x"], ["7 bytes", "24 h", "x"]]


async def test_an_upload_to_the_embedded_server_is_reported_lost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "x").write_bytes(b"x")
    await upload_file(tmp_path / "x", options=Options(local=True))

    assert "has ended, and the file with it" in capsys.readouterr().err


async def test_ctrl_c_leaves_no_part_of_a_file(
    server: LocalReplicate, url: str, tmp_path: Path
) -> None:
    server.faults.add("delivery", pause=0.02)
    terminal = await Terminal.start("files", "download", url, "-o", str(tmp_path), server=server)
    await terminal.until("my data.bin")
    terminal.process.send_signal(signal.SIGINT)

    assert await terminal.ended() == 130
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - that there is nothing
    assert terminal.raw.rfind(SHOW_CURSOR) > terminal.raw.rfind(HIDE_CURSOR)


async def test_a_terminal_shows_the_progress(
    server: LocalReplicate, url: str, tmp_path: Path
) -> None:
    server.faults.add("delivery", cut_after=200_000)  # and goes on where it was cut
    terminal = await Terminal.start("files", "download", url, "-o", str(tmp_path), server=server)

    assert await terminal.ended() == 0
    assert "512.0/512.0 kB" in terminal.text
    assert terminal.text.splitlines()[-1].endswith("/my data.bin")
    assert Path(tmp_path, "my data.bin").read_bytes() == DATA  # noqa: ASYNC240 - it is small


async def test_a_terminal_shows_uploads_and_a_table_of_them(
    server: LocalReplicate, tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "[red]x.bin").write_bytes(DATA)
    upload = await Terminal.start("files", "upload", str(tmp_path / "[red]x.bin"), server=server)
    code = await upload.ended()
    listed = await Terminal.start("files", "list", server=server)
    await listed.ended()

    assert code == 0
    assert "[red]x.bin" in upload.text
    assert "512.0/512.0 kB" in upload.text
    rows = [line.split() for line in listed.text.splitlines()]
    assert rows[0] == ["id", "size", "left", "name"]
    assert rows[1][1:] == ["512.0", "kB", "24", "h", "[red]x.bin"]
