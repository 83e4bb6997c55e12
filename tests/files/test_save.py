from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from replicate_async import (
    FileError,
    FileOutput,
    InvalidArgumentError,
    Replicate,
    Retry,
    TargetExistsError,
    TruncatedBodyError,
    save_all,
)
from replicate_async.files.part_file import PartFile
from tests.files.hostile import NAMES
from tests.files.hosts import CONTENT, Host, hosted, names_in
from tests.files.saved import here, inside, pattern
from tests.support.fault_server import FaultServer, script
from tests.support.sentinel import TOKEN, caught
from tests.support.unmeasured import unmeasured
from tests.support.wire import Answer, Ending, Request

pytestmark = pytest.mark.anyio


async def test_a_path_is_a_file_or_a_folder(tmp_path: Path) -> None:
    file = here(kind="image/webp")

    assert await file.save(tmp_path / "a.webp") == tmp_path / "a.webp"
    assert await file.save(str(tmp_path)) == tmp_path / "output.webp"
    assert await file.save(f"{tmp_path}/new/folder/") == tmp_path / "new/folder/output.webp"
    assert (tmp_path / "a.webp").read_bytes() == b"x"
    assert stat.S_IMODE((tmp_path / "a.webp").stat().st_mode) & 0o700 == 0o600


async def test_a_path_without_a_folder_is_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert await here().save("a.png") == Path("a.png")
    assert inside(tmp_path) == {"a.png": b"x"}


class NumberedPath:
    """An object that has a number for its path."""

    def __fspath__(self) -> Any:
        return 3


@pytest.mark.parametrize("path", ["", "a\0b", "half \ud800", b"bytes", 3, NumberedPath()])
async def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a path: it must be a text"):
        await here().save(path)
    with pytest.raises(InvalidArgumentError, match="is not a path: it must be a text"):
        await save_all([here()], path)


async def test_an_existing_file_is_replaced_with_overwrite_only(
    tmp_path: Path,
) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"mine")

    with caught(TargetExistsError) as raised:
        await here().save(target)
    assert raised.error.path == target
    assert inside(tmp_path) == {"a.png": b"mine"}

    await here().save(target, overwrite=True)
    assert inside(tmp_path) == {"a.png": b"x"}


async def test_a_taken_name_from_the_host_is_numbered(tmp_path: Path) -> None:
    files = [here(str(number).encode()) for number in range(20)]

    paths = await asyncio.gather(*(file.save(tmp_path) for file in files))

    names = ["output.png", *(f"output ({number}).png" for number in range(2, 21))]
    assert sorted(path.name for path in paths) == sorted(names)
    assert {path.read_bytes() for path in paths} == {str(number).encode() for number in range(20)}
    await here(b"new").save(tmp_path, overwrite=True)
    assert (tmp_path / "output.png").read_bytes() == b"new"


async def test_a_save_reports_the_bytes_saved_so_far(tmp_path: Path) -> None:
    seen: list[int] = []

    async with (
        FaultServer(lambda _: Answer(body=b"12345")) as server,
        Replicate(TOKEN, base_url=server.url) as client,
    ):
        file = FileOutput(f"{server.origin}/a").with_client(client)
        await file.save(tmp_path / "a.bin", on_progress=seen.append)

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 5)


async def test_a_file_that_appears_during_the_save_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.png"

    def planting(_request: Request) -> Answer:
        target.write_bytes(b"mine")
        return Answer(body=b"x")

    async with FaultServer(planting) as server, Replicate(TOKEN, base_url=server.url) as client:
        with caught(TargetExistsError):
            await FileOutput(f"{server.origin}/a").with_client(client).save(target)

    assert inside(tmp_path) == {"a.png": b"mine"}


async def test_no_hostile_name_leaves_its_folder_or_overwrites(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.mkdir()
    (folder / "x").write_bytes(b"mine")
    paths: list[Path] = []

    def hostile(request: Request) -> Answer:
        name = NAMES[int(request.path.split("/")[1])]
        plain = name.replace("\r", "").replace("\n", "").replace("\0", "").encode(errors="replace")
        value = b'attachment; filename="' + plain.replace(b'"', b'\\"') + b'"'
        extended = b"attachment; filename*=UTF-8''" + quote(name, errors="replace").encode()
        header = extended if "star" in request.path else value
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Disposition: " + header
        if "plain" in request.path:
            raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1"
        return Answer(raw=raw + b"\r\n\r\nx")

    async with (
        FaultServer(hostile) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        for number, name in enumerate(NAMES):
            encoded = quote(name, errors="replace")
            for url in (
                f"{server.origin}/{number}/header",
                f"{server.origin}/{number}/star",
                f"{server.origin}/{number}/plain/{encoded}",
            ):
                try:
                    paths.append(await FileOutput(url).with_client(client).save(folder))
                except TruncatedBodyError:
                    assert "header" in url  # such a header is none of HTTP's
        for name in NAMES:
            paths += await save_all([here()], folder, name=partial(pattern, name, "{name}"))
            paths += await save_all([here()], folder, name=partial(pattern, name, ""))

    assert len(set(paths)) == len(paths) > 4 * len(NAMES)
    assert not names_in(outside)
    found = inside(folder)
    assert found.pop("x") == b"mine"
    assert {folder / name for name in found} == set(paths)
    assert set(found.values()) == {b"x"}
    assert names_in(tmp_path) == ["in", "out"]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_symbolic_link_is_not_followed(tmp_path: Path, overwrite: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").symlink_to(secret)
    (folder / "dangling.png").symlink_to(tmp_path / "nowhere")
    (folder / "output.png").symlink_to(secret)

    for name in ("a.png", "dangling.png"):
        with caught(FileError) as raised:
            await here().save(folder / name, overwrite=overwrite)
        assert "symbolic link" in str(raised.error)
    if overwrite:
        with caught(FileError):
            await here().save(folder, overwrite=True)
    assert secret.read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


async def test_a_name_taken_by_a_symbolic_link_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "output.png").symlink_to(tmp_path / "nowhere")

    assert await here().save(tmp_path) == tmp_path / "output (2).png"
    assert not (tmp_path / "nowhere").exists()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - another process or a thread sets it
        await asyncio.sleep(0.01)


def open_files() -> set[str]:
    """Return the regular files that this process has open."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {str(link) for link in links if link.is_absolute()}


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def has_grown(folder: Path, before: int) -> bool:
    return written(folder) > before


def part_of(folder: Path) -> Path:
    [part] = [path for path in folder.iterdir() if path.name.endswith(".part")]
    return part


@pytest.mark.parametrize("trap", ["symlink", "hard link", "folder", "fifo", "foreign", "before"])
async def test_a_planted_part_file_is_not_resumed(tmp_path: Path, trap: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    folder = tmp_path / "in"
    async with hosted() as (file, server, host):
        planted = plan_part(folder, f"{file.url}\n", '"v1"')
        if trap == "symlink":
            planted.symlink_to(secret)
        elif trap == "hard link":
            planted.hardlink_to(secret)
        elif trap == "folder":
            planted.mkdir()
        elif trap == "fifo":
            os.mkfifo(planted)
        elif trap == "foreign":
            planted.write_bytes(b"mine")
            if os.geteuid() == 0:
                os.chown(planted, 12345, 12345)
            else:
                planted.chmod(0)
        else:
            planted.write_bytes(b"mine")
            os.utime(planted, (1, 1))

        saved = await file.save(folder)

        assert saved.read_bytes() == CONTENT
        assert host.starts == [0]
        assert server.requests[0].header("range") is None
    assert secret.read_bytes() == b"mine"


def plan_part(folder: Path, key: str, validator: str) -> Path:
    """Return the path of the part file, after it is removed."""
    folder.mkdir(exist_ok=True)
    part = PartFile.create(folder, key, validator)
    path = part_of(folder)
    part.close(keep=False)
    return path


async def test_a_part_file_of_another_process_is_resumed(tmp_path: Path) -> None:
    async with hosted() as (file, _, host):
        plan_part(tmp_path, f"{file.url}\n", '"v1"').write_bytes(CONTENT[:100_000])

        saved = await file.save(tmp_path)

        assert host.starts == [100_000]
        assert inside(tmp_path) == {saved.name: CONTENT}
        assert file.size == len(CONTENT)


async def test_a_complete_part_file_is_not_downloaded_again(tmp_path: Path) -> None:
    async with hosted() as (file, _, host):
        plan_part(tmp_path, f"{file.url}\na.png", '"v1"').write_bytes(CONTENT)

        await file.save(tmp_path / "a.png")

        assert host.starts == [len(CONTENT)]
        assert inside(tmp_path) == {"a.png": CONTENT}


async def test_a_part_file_of_another_version_is_dropped(tmp_path: Path) -> None:
    async with hosted() as (file, server, _):
        plan_part(tmp_path, f"{file.url}\n", '"v0"').write_bytes(b"old" * 1000)

        await file.save(tmp_path)

        assert server.requests[0].header("if-range") == '"v0"'
        assert list(inside(tmp_path).values()) == [CONTENT]


async def test_a_part_file_larger_than_the_file_is_dropped(tmp_path: Path) -> None:
    async with hosted() as (file, _, host):
        plan_part(tmp_path, f"{file.url}\n", '"v1"').write_bytes(CONTENT + b"more")

        await file.save(tmp_path)

        assert host.starts == [len(CONTENT) + 4, 0]
        assert list(inside(tmp_path).values()) == [CONTENT]


async def test_two_downloads_of_one_url_do_not_write_into_one_file(tmp_path: Path) -> None:
    async with hosted(Host(most=50_000)) as (file, _, _):
        paths = await asyncio.gather(*(file.save(tmp_path) for _ in range(8)))

    assert len(set(paths)) == 8
    assert set(inside(tmp_path).values()) == {CONTENT}
    assert len(inside(tmp_path)) == 8


async def test_a_large_part_file_is_kept_when_the_network_fails(tmp_path: Path) -> None:
    content = os.urandom(12 * 1024 * 1024)
    host = Host(content=content, most=10 * 1024 * 1024 + 5)

    def failing(request: Request) -> Answer:
        if request.header("range") and host.most:
            return Answer(raw=b"", ending=Ending.CLOSE)
        return host(request)

    async with (
        FaultServer(failing) as server,
        Replicate(TOKEN, base_url=server.url, retry=Retry(attempts=1)) as client,
    ):
        file = FileOutput(f"{server.origin}/a.bin").with_client(client)
        with pytest.raises(Exception, match="broke"):
            await file.save(tmp_path)
        kept = part_of(tmp_path).stat().st_size
        assert 8 * 1024 * 1024 <= kept <= (host.most or 0)
        host.most = None
        saved = await file.save(tmp_path)

        assert host.starts == [0, kept]
        assert inside(tmp_path) == {saved.name: content}


async def test_a_save_that_is_cancelled_leaves_nothing_and_no_open_file(tmp_path: Path) -> None:
    before = open_files()
    endless = Answer(headers=(("ETag", '"a"'),), body=CONTENT, cut=200_000, ending=Ending.HANG)
    async with FaultServer(script(endless)) as server, Replicate(TOKEN, base_url=server.url) as c:
        task = asyncio.create_task(FileOutput(f"{server.origin}/a").with_client(c).save(tmp_path))
        await until(lambda: bool(names_in(tmp_path)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert not names_in(tmp_path)
    assert open_files() <= before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing/a.png", "make the folder first"),
        ("file/a.png", "a part of the path is a file"),
        ("file/", "file"),
        ("x" * 300, "too long"),
    ],
)
async def test_a_path_that_cannot_be_written_says_why(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")

    with caught(FileError) as raised:
        await here().save(f"{tmp_path}/{path}")

    assert said in str(raised.error).lower()
    assert raised.error.path is not None
    assert inside(tmp_path) == {"file": b"mine"}


async def test_a_fifo_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with caught(FileError) as raised:
        await here().save(tmp_path / "pipe", overwrite=True)

    assert "not a file" in str(raised.error)


@pytest.mark.parametrize("path", ["", "a\0b", b"a", 3])
async def test_an_invalid_path_is_refused(path: str) -> None:
    with caught(InvalidArgumentError):
        await here().save(path)
    with caught(InvalidArgumentError):
        await save_all([here()], path)


FULL = """
import asyncio, resource, sys
from replicate_async import FileError, FileOutput, Replicate
async def main():
    origin, folder = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    async with Replicate("r8_x", base_url=origin + "/v1") as client:
        for name in ("a.png", ""):
            try:
                await FileOutput(origin + "/a.png").with_client(client).save(f"{folder}/{name}")
            except FileError as error:
                print(error)
asyncio.run(main())
"""


async def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    async with hosted() as (_, server, _host):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FULL, server.origin, str(tmp_path), stdout=subprocess.PIPE
        )
        said, _ = await process.communicate()

    assert process.returncode == 0
    assert said.decode().count("cannot be saved: File too large") == 2
    assert not names_in(tmp_path)


KILLED = """
import asyncio, sys
from replicate_async import FileOutput, Replicate
async def main():
    origin, folder = sys.argv[1:]
    async with Replicate("r8_x", base_url=origin + "/v1") as client:
        file = FileOutput(origin + "/out.bin").with_client(client)
        print("go", flush=True)
        await file.save(folder + "/out.bin", overwrite=True)
asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_save_that_is_killed_is_completed_by_the_next(
    tmp_path: Path,
) -> None:
    content = os.urandom(14_000_000)
    host = Host(content=content)
    kills = 8

    def slow(request: Request) -> Answer:
        answer = host(request)
        # All runs but the last are killed in the middle of the download.
        if len(host.starts) > kills:
            return answer
        cut = len(answer.head()) + 1_300_000 + 100_000 * len(host.starts) % 400_000
        return Answer(
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            cut=cut,
            ending=Ending.HANG,
        )

    async with FaultServer(slow) as server:
        arguments = [sys.executable, "-c", KILLED, server.origin, str(tmp_path)]
        for _ in range(kills):
            size = written(tmp_path)
            process = await asyncio.create_subprocess_exec(
                *arguments, stdout=subprocess.PIPE, env=unmeasured()
            )
            await until(partial(has_grown, tmp_path, size))
            process.kill()
            await process.communicate()
            assert not (tmp_path / "out.bin").exists()
        process = await asyncio.create_subprocess_exec(*arguments)
        assert await process.wait() == 0

    assert host.starts == sorted(set(host.starts)), "each run goes on where the last was killed"
    assert inside(tmp_path).keys() == {"out.bin"}
    saved = (tmp_path / "out.bin").read_bytes()
    assert hashlib.sha256(saved).digest() == hashlib.sha256(content).digest()


async def test_saving_a_large_file_does_not_block_the_event_loop(tmp_path: Path) -> None:
    data = bytes(20_000_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with hosted(Host(content=data)) as (file, _, _):
        counting = asyncio.create_task(count())
        saved = await file.save(tmp_path)
        counting.cancel()

    assert saved.stat().st_size == len(data)
    assert turns > 20


@pytest.mark.parametrize(
    "options", [{"overwrite": "no"}, {"max_size": "9"}, {"max_size": True}, {"on_progress": 3}]
)
async def test_an_option_of_another_type_is_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(options))}="):
        await here().save(tmp_path / "a.png", **options)
