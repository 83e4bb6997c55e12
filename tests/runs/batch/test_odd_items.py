"""One item that cannot be encoded, decoded or saved is one error, and the others go on."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from replicate_async import BatchResult, Replicate, ReplicateError
from replicate_async.errors import FileError
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.errors import is_of_one_file
from replicate_async.runs.batch.journal import Journal, JournalHeader, State
from tests.runs.batch.api import MODEL, QUICK, SOON, BatchAPI, Made, client_of
from tests.runs.batch.collecting import results_and_error
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import run, states

pytestmark = pytest.mark.anyio

COUNT, ODD = 12, 5


class Raises(Mapping[str, object]):
    """An input that cannot be read."""

    def __getitem__(self, name: str) -> object:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("the row is gone")

    def __len__(self) -> int:
        return 1


class Unreadable(io.BytesIO):
    """A file that fails in a way of its own."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise RuntimeError("the archive is closed")


class Odd:
    """A value that is no JSON."""

    def __getattr__(self, name: str) -> object:
        raise LookupError(name)


def deep() -> object:
    value: object = 1
    for _ in range(20_000):
        value = [value]
    return value


def closed_file() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


ODD_INPUTS: dict[str, Any] = {
    "a mapping that raises": Raises(),
    "a file that raises": {"n": Unreadable(b"x")},
    "a closed file": {"n": closed_file()},
    "a missing file": {"n": Path("/nowhere/to be found.png")},
    "a folder": {"n": Path("/")},
    "an odd object": {"n": Odd()},
    "a value that is too deep": {"n": deep()},
    "half a character": {"n": "\ud800"},
    "no JSON number": {"n": float("inf")},
    "a large number": {"n": 10**400},
    "a name that is no string": {3: "x"},
}


def all_but_one_are_ok(results: list[BatchResult[Any]]) -> ReplicateError:
    """Check that all items have a result, and return the error of the odd one."""
    assert sorted(result.index for result in results) == list(range(COUNT))
    assert [result.index for result in results if not result.ok] in ([ODD], [])
    errors = [result.error for result in results if result.error is not None]
    return errors[0] if errors else ReplicateError("none")


@pytest.mark.parametrize("odd", ODD_INPUTS)
@pytest.mark.parametrize("journaled", [False, True])
async def test_an_input_that_cannot_be_sent_is_one_error(
    tmp_path: Path, odd: str, journaled: bool
) -> None:
    given: list[Any] = [{"n": number} for number in range(COUNT)]
    given[ODD] = ODD_INPUTS[odd]
    journal = tmp_path / "batch.db" if journaled else None
    api = BatchAPI()
    async with api.server() as server, client_of(server.url) as client:
        batch = client.batch(MODEL, given, journal=journal, poll=QUICK, batch_timeouts=SOON)
        results, error = await results_and_error(batch)

    assert error is None
    all_but_one_are_ok(results)
    assert {str(made.input.get("n")) for made in api.made} >= {
        str(number) for number in range(COUNT) if number != ODD
    }


async def test_a_dry_run_has_one_error_too() -> None:
    given: list[Any] = [{"n": number} for number in range(COUNT)]
    given[ODD] = Raises()
    async with BatchAPI().server() as server, client_of(server.url) as client:
        results, error = await results_and_error(client.batch("5" * 64, given, dry_run=True))

    assert error is None
    assert len(results) == COUNT


@dataclass
class Strict:
    """A type whose own check raises an error that msgspec passes on."""

    n: int

    def __post_init__(self) -> None:
        if self.n == ODD:
            raise LookupError("no such row")


@pytest.mark.parametrize("journaled", [False, True])
async def test_an_output_that_cannot_be_decoded_is_one_error(
    tmp_path: Path, journaled: bool
) -> None:
    journal = tmp_path / "batch.db" if journaled else None
    api = BatchAPI()
    async with api.server() as server, client_of(server.url) as client:
        options: dict[str, Any] = {"journal": journal, "poll": QUICK, "type": Strict}
        given = [{"n": number} for number in range(COUNT)]
        first, error = await results_and_error(client.batch(MODEL, given, **options))
        again, replay_error = await results_and_error(client.batch(MODEL, given, **options))

    assert (error, replay_error) == (None, None)
    for results in (first, again):
        fault = all_but_one_are_ok(results)
        assert "LookupError: no such row" in str(fault)
        (failed,) = [result for result in results if not result.ok]
        assert failed.prediction is not None
        assert failed.prediction.output == {"n": ODD}
    if journal is not None:
        assert await states(journal) == {State.DONE: COUNT}
        assert api.creates == COUNT


async def test_a_result_that_the_journal_cannot_show_is_one_error(tmp_path: Path) -> None:
    journal, api = tmp_path / "batch.db", BatchAPI()
    given = [{"n": number} for number in range(COUNT)]
    (key,) = [r.key for r in await run(api, given, journal) if r.index == ODD]
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await record(opened, key, "reset")
        await record(opened, key, "done", b'{"status": ["of another maker"]}')

    fault = all_but_one_are_ok(await run(api, given, journal))

    assert f"input {ODD} ({key})" in str(fault)
    assert api.creates == COUNT


async def test_a_folder_in_the_place_of_a_file_costs_no_item(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    given = [{"name": f"row-{number}", "width": 16, "height": 16} for number in range(COUNT)]
    folder = tmp_path / "out"
    (folder / f"row-{ODD}.png").mkdir(parents=True)

    batch = client.batch("local/mandelbrot", given, key="name", save_files=folder)
    results, error = await results_and_error(batch)

    assert error is None
    assert all(result.ok for result in results)
    assert len({file for result in results for file in result.files}) == COUNT


@pytest.mark.parametrize("name", ["half \ud800", "x" * 490, "nul \0"])
async def test_a_key_that_is_no_name_of_a_file_leaves_the_others_alone(
    client: Replicate, tmp_path: Path, name: str
) -> None:
    given = [{"name": f"row-{number}", "width": 16, "height": 16} for number in range(COUNT)]
    keys = [name if number == ODD else f"row-{number}" for number in range(COUNT)]

    batch = client.batch(
        "local/mandelbrot",
        given,
        key=lambda row: keys[given.index(cast("dict[str, Any]", row))],
        save_files=tmp_path / "out",
        journal=tmp_path / "batch.db",
    )
    results, error = await results_and_error(batch)

    assert error is None
    all_but_one_are_ok(results)


@pytest.mark.parametrize("name", ["a file", "n" * 300])
async def test_a_folder_that_cannot_be_used_ends_the_batch_before_anything_is_created(
    client: Replicate, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a file").write_text("a file")
    given = [{"width": 16, "height": 16}] * COUNT

    batch = client.batch("local/mandelbrot", given, save_files=tmp_path / name)
    results, error = await results_and_error(batch)

    assert isinstance(error, FileError)
    assert not results
    assert not [created async for created in client.predictions.list()]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, False),
        (errno.EDQUOT, False),
        (errno.EROFS, False),
        (errno.EIO, False),
        (errno.EMFILE, False),
        (errno.ENOTDIR, False),
        (errno.ENAMETOOLONG, True),
        (errno.EISDIR, True),
        (errno.ELOOP, True),
        (errno.EACCES, True),
        (errno.ENOENT, True),
        (None, True),
    ],
)
def test_a_full_disk_is_fatal_and_a_bad_file_name_is_not(
    tmp_path: Path, number: int | None, expected: bool
) -> None:
    fault = FileError("it failed", errno=number)

    assert is_of_one_file(fault, tmp_path) is expected
    if number is not None:
        assert not is_of_one_file(fault, tmp_path / "not there")


async def test_an_output_that_the_journal_cannot_keep_is_handed_over(tmp_path: Path) -> None:
    def odd(made: Made) -> None:
        if made.input["n"] == ODD:
            made.shown = {"metrics": {"predict_time": 1.0, "tokens": 10**30}}

    given = [{"n": number} for number in range(COUNT)]
    results = await run(BatchAPI(outcome=odd), given, tmp_path / "batch.db")

    assert [result.prediction.output for result in results if result.prediction] == given
