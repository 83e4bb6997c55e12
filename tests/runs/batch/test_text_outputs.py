"""Lists of strings in outputs: a text where the model's schema says so, and else a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicate_async import DecodeError, Replicate
from replicate_async.context import context_of
from replicate_async.integrations.dataframe import with_results
from replicate_async.local import ConcatenateIterator, LocalReplicate, OutputFile

pytestmark = pytest.mark.anyio


def say(text: str) -> ConcatenateIterator[str]:
    yield from text.split("-")


def words(text: str) -> list[str]:
    return text.split("-")


def each_word(text: str) -> Iterator[str]:
    yield from text.split("-")


def pictures(text: str) -> list[OutputFile]:
    return [OutputFile(part.encode(), name=f"{part}.png") for part in text.split("-")]


MODELS = {
    "acme/say": say,
    "acme/words": words,
    "acme/each-word": each_word,
    "acme/pictures": pictures,
}
LISTS = ["acme/words", "acme/each-word", "acme/pictures"]


@pytest.fixture
def models(server: LocalReplicate) -> None:
    for name, function in MODELS.items():
        server.add_model(name, function)


@pytest.mark.usefixtures("models")
async def test_a_text_in_chunks_is_joined_as_str(client: Replicate) -> None:
    assert await client.run("acme/say", {"text": "cat-dog"}, type=str) == "catdog"
    batch = client.batch("acme/say", [{"text": "cat-dog"}], type=str)
    assert [result.output async for result in batch] == ["catdog"]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("model", LISTS)
async def test_any_other_list_is_no_str(client: Replicate, model: str) -> None:
    with pytest.raises(DecodeError, match="a list of 2 strings") as raised:
        await client.run(model, {"text": "cat-dog"}, type=str)
    batch = client.batch(model, [{"text": "cat-dog"}], type=str)
    (result,) = [result async for result in batch]

    assert raised.value.prediction is not None
    assert len(raised.value.prediction.output) == 2
    assert isinstance(result.error, DecodeError)


async def test_files_of_a_model_without_a_known_schema_are_no_str(client: Replicate) -> None:
    small = {"width": 16, "height": 16}

    with pytest.raises(DecodeError, match="not one text in chunks"):
        await client.run("local/frames", {**small, "frames": 2}, type=str)
    assert len(await client.run("local/storyteller", {"prompt": "Once"}, type=str)) > 10


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("model", "cell"),
    [("acme/say", "catdog"), ("acme/words", '["cat","dog"]'), ("acme/each-word", '["cat","dog"]')],
)
async def test_a_cell_has_a_text_only_where_the_schema_says_so(
    client: Replicate, tmp_path: Path, model: str, cell: str
) -> None:
    pl: Any = pytest.importorskip("polars", reason="the integrations session installs it")
    frame = pl.DataFrame({"text": ["cat-dog"]})

    async def outputs(journal: Path | None) -> list[object]:
        batch = client.batch(model, frame, journal=journal)
        results = [result async for result in batch]
        made: list[object] = with_results(frame, results)["output"].to_list()
        return made

    assert await outputs(None) == [cell]
    assert await outputs(tmp_path / "run.db") == [cell]
    # As in another process, which takes all from the journal.
    context_of(client).models.output_shapes.clear()
    assert await outputs(tmp_path / "run.db") == [cell]
