"""An input has one form: what is sent, its digest and what it is recognised by agree."""

from __future__ import annotations

import enum
import io
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any, Final

import pytest

from replicate_async import FileOutput, InvalidArgumentError, Replicate
from replicate_async.files.inputs import encode_input
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.journal import Journal, JournalHeader
from replicate_async.runs.batch.keys import KeyAssigner
from replicate_async.runs.batch.lost_creates.sent_input import normalize
from tests.runs.batch.api import MODEL, BatchAPI
from tests.runs.batch.canonical import A_FILE, digest_of, fields
from tests.runs.batch.journals import record
from tests.runs.batch.resuming import run, sent_as

pytestmark = pytest.mark.anyio

PROGRAM: Final = """
import sys
from replicate_async.files.inputs import canonical_input, encode_input
from replicate_async.runs.batch.keys import digest
given = {"tags": {"alpha", "beta", "gamma", "delta", "eps", "zeta"}, "mixed": {1, "a", (2, "b")}}
print(digest("m", canonical_input(given)).hex(), encode_input(given).values)
"""


class Text(str):
    __slots__ = ()


class Number(float):
    pass


class Color(enum.Enum):
    RED = "red"


@dataclass
class Settings:
    seed: int


EQUAL: list[tuple[object, object]] = [
    (Text("a"), "a"),
    (Number(2.5), 2.5),
    (Decimal("2.5"), 2.5),
    (Color.RED, "red"),
    ({"b", "a"}, ["a", "b"]),
    ({Text("k"): Number(1.5)}, {"k": 1.5}),
    (Settings(1), {"seed": 1}),
    (range(2), [0, 1]),
    (b"words", io.BytesIO(b"words")),
    (FileOutput("https://x.test/a"), "https://x.test/a"),
]
DIFFERENT: list[tuple[object, object]] = [
    (b"words", "d29yZHM="),
    (b"words", b"other"),
    (1, "1"),
    (1, 1.5),
    (True, 1),
    (None, "null"),
    ([1], 1),
    ({"a"}, {"b"}),
    (Decimal("0.1"), Decimal("0.2")),
]


def digest_with(value: object) -> bytes:
    return digest_of({"value": [value]})


def test_equal_inputs_have_equal_digests_and_different_ones_do_not() -> None:
    assert [pair for pair in EQUAL if digest_with(pair[0]) != digest_with(pair[1])] == []
    assert [pair for pair in DIFFERENT if digest_with(pair[0]) == digest_with(pair[1])] == []


def test_plain_inputs_keep_the_digests_that_journals_have() -> None:
    plain = {"b": [1, 2.5, True, None, {"z": "é", "a": -0.0}], "a": "text", "none": None}

    assert digest_of(plain, "acme/echo") == bytes.fromhex(
        "cf8ed0b29f23dc25fb4615cfa18af8ae32be273d447b5191b3277f7c1fa9b71d"
    )


def test_a_set_has_the_same_order_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(found) == 1


def test_an_input_is_recognised_by_what_is_sent() -> None:
    for value, _ in EQUAL[:8]:
        sent: Any = json.loads(json.dumps(encode_input({"value": value}).values))
        assert normalize(fields({"value": value})) == normalize(sent)
    once = fields({"f": [b"x", Path("a")], "n": None})
    assert fields(once) == once == {"f": [A_FILE, A_FILE]}


async def test_a_lost_create_is_found_though_its_input_was_of_odd_classes(tmp_path: Path) -> None:
    journal = tmp_path / "run.db"
    given: dict[str, Any] = {
        "n": 1,
        "tags": {"alpha", "beta", "gamma"},
        "scale": Decimal("7.50"),
        "mode": Color.RED,
        "text": Text("x"),
    }
    api = BatchAPI()
    made = api.make(json.loads(json.dumps(encode_input(given).values)))
    named, _ = await KeyAssigner(MODEL, None, exact=True).assign(given)
    async with await Journal.open(journal, JournalHeader(model=MODEL)) as opened:
        await opened.plan([(named.index, named.key, named.digest)])
        await record(opened, named.key, "intent", time() - 0.1, None, sent_as(given))

    (result,) = await run(api, [given], journal)

    assert result.ok
    assert result.prediction is not None
    assert (result.prediction.id, api.creates) == (made.id, 0)


async def test_an_unexpected_error_ends_only_its_item(tmp_path: Path) -> None:
    class Odd:
        def tolist(self) -> list[object]:
            raise LookupError("no luck")

    given: list[dict[str, Any]] = [{"n": 1}, {"n": Odd()}, {"n": Text("2")}, {"n": {1: 2}}]
    read = io.BytesIO(b"words")
    read.read()
    for journal in ({}, {"journal": tmp_path / "run.db"}):
        api = BatchAPI()
        results = await run_with(api, [*given, {"n": read}], **journal)

        assert [result.ok for result in results] == [True, False, True, False, False]
        assert api.creates == 2
        assert str(results[1].error) == 'input["n"] cannot be read: LookupError: no luck.'
        assert 'input["n"]' in str(results[3].error)
        assert "call seek(0)" in str(results[4].error)


async def run_with(api: BatchAPI, given: list[dict[str, Any]], **options: Any) -> list[Any]:
    async with api.server() as server, Replicate("r8_" + "x" * 37, base_url=server.url) as client:
        batch = client.batch(MODEL, given, ordered=True, **options)
        return [result async for result in batch]


async def test_one_open_file_in_many_items_arrives_whole_in_each(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2_000
    (tmp_path / "large.bin").write_bytes(content)
    async with LocalReplicate() as server:

        @server.model("acme/size")
        def size(file: str, n: int) -> int:
            return len(file)

        async with Replicate(server.api_token, base_url=server.url) as client:
            with (tmp_path / "large.bin").open("rb") as opened:
                given = [{"file": opened, "n": n} for n in range(4)]
                batch = client.batch("acme/size", given, journal=tmp_path / "run.db")
                results = [result async for result in batch]
            files = [file async for file in client.files.list()]

    assert [result.error for result in results] == [None] * 4
    assert [file.size for file in files] == [len(content)] * 4


async def test_keys_may_be_of_odd_classes() -> None:
    async def key_of(value: object) -> str:
        return (await KeyAssigner("m", "id", exact=True).assign({"id": value}))[0].key

    np = pytest.importorskip("numpy", reason="the integrations session installs it")
    assert await key_of(Text("a")) == "a"
    assert await key_of(np.int64(7)) == "7"
    assert await key_of(Color.RED) == "red"
    with pytest.raises(InvalidArgumentError, match="key= failed for input 0: KeyError") as caught:
        await KeyAssigner("m", lambda _: {"other": "x"}["id"], exact=True).assign({"a": 1})
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_dry_run_says_what_cannot_be_sent() -> None:
    async with (
        LocalReplicate() as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        given = [{"text": "a"}, {"text": {1: 2}}]
        batch = client.batch("replicate/hello-world", given, dry_run=True, ordered=True)
        results = [result async for result in batch]

    assert [result.ok for result in results] == [True, False]
    assert 'input["text"] has the key 1' in str(results[1].error)


SEND: dict[str, Callable[[Replicate, Any], Awaitable[object]]] = {
    "predictions": lambda c, given: c.predictions.create("local/echo", given),
    "models": lambda c, given: c.models.predictions.create("local/echo", given),
    "deployments": lambda c, given: c.deployments.predictions.create("acme/prod", given),
    "trainings": lambda c, given: c.trainings.create(
        "acme/trainer:" + "1" * 64, destination="acme/trained", input=given
    ),
    "run": lambda c, given: c.run("local/echo", given),
    "stream": lambda c, given: c.stream("local/echo", given).__aenter__(),
    "metadata": lambda c, given: c.files.create(b"x", metadata=given),
}


@pytest.mark.parametrize("way", SEND)
async def test_every_way_refuses_what_cannot_be_sent(way: str) -> None:
    argument = "metadata" if way == "metadata" else "input"
    async with Replicate("r8_" + "x" * 37, base_url="http://127.0.0.1:9/v1") as client:
        for given in ({"a": [{"b": {1: 2}}]}, Settings({1: 2})):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake
            with pytest.raises(InvalidArgumentError) as caught:
                await SEND[way](client, given)
            assert str(caught.value).startswith(f'{argument}["')


async def test_whole_inputs_of_a_class_can_be_run_and_batched() -> None:
    @dataclass
    class Value:
        value: object

    async with (
        LocalReplicate() as server,
        Replicate(server.api_token, base_url=server.url) as client,
    ):
        assert await client.run("local/echo", Value(Decimal(3))) == 3
        batch = client.batch("local/echo", [Value(1), Value({"b", "a"})], ordered=True)
        assert [result.output async for result in batch] == [1, ["a", "b"]]
