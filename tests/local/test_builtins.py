from __future__ import annotations

import asyncio
import re
import struct
import zlib
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from replicate_async.interface.validation import validate
from replicate_async.local.builtins import BUILTINS
from replicate_async.local.builtins.fail import ModelError
from replicate_async.local.builtins.mandelbrot import escape_time
from replicate_async.local.builtins.png import png
from replicate_async.local.builtins.progress import Progress, progress_line
from replicate_async.local.builtins.storyteller import Chain, tokenize
from replicate_async.local.builtins.tales import TALES
from replicate_async.local.models.backend import ModelBackend
from tests.local.recording import RecordingContext
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

# What clients look for to tell a run's progress.
PROGRESS = re.compile(r"^\s*(\d+)%\s*\|.+?\|\s*(\d+)\/(\d+)")


async def run(
    model: str | ModelBackend, context: RecordingContext | None = None, **input: object
) -> list[Any]:
    function = BUILTINS[model]() if isinstance(model, str) else model
    assert validate(input, function.openapi_schema) == []
    return [value async for value in function.predict(input, context or RecordingContext())]


def pixels(image: bytes) -> tuple[int, int, bytes]:
    """Read a PNG as far as ours go: eight bits, three colours, no filters."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(image):
        (length,) = struct.unpack(">I", image[place : place + 4])
        kind, data = image[place + 4 : place + 8], image[place + 8 : place + 8 + length]
        crc = image[place + 8 + length : place + 12 + length]
        assert struct.unpack(">I", crc) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        place += 12 + length
    width, height, depth, color, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, color) == (8, 2)
    raw = zlib.decompress(chunks[b"IDAT"])
    rows = [raw[i : i + 1 + 3 * width] for i in range(0, len(raw), 1 + 3 * width)]
    assert len(rows) == height
    assert all(row[0] == 0 for row in rows)
    return width, height, b"".join(row[1:] for row in rows)


def test_each_model_has_its_own_version_and_a_description() -> None:
    models = {name: make() for name, make in BUILTINS.items()}

    assert len({model.version_id for model in models.values()}) == len(models)
    assert all(model.description for model in models.values())
    assert {name for name, model in models.items() if model.output in {"text", "files"}} == {
        "local/fail",
        "local/frames",
        "local/storyteller",
    }
    assert [name for name, model in models.items() if model.trainable] == ["local/storyteller"]


def test_servers_share_the_built_in_backends() -> None:
    assert all(make() is make() for make in BUILTINS.values())


async def test_hello_world_is_the_specifications_example() -> None:
    model = BUILTINS["replicate/hello-world"]()

    assert model.openapi_schema["components"]["schemas"] == {
        "Input": {
            "type": "object",
            "title": "Input",
            "required": ["text"],
            "properties": {
                "text": {
                    "x-order": 0,
                    "type": "string",
                    "title": "Text",
                    "description": "Text to prefix with 'hello '",
                }
            },
        },
        "Output": {"type": "string", "title": "Output"},
    }
    assert await run(model, text="Alice") == ["hello Alice"]


@pytest.mark.parametrize("value", [None, True, 1.5, "text", [1, ["two"]], {"a": {"b": None}}])
async def test_echo_gives_back_any_json(value: object) -> None:
    assert await run("local/echo", value=value) == [value]


async def test_fail_fails_after_the_number_of_outputs_asked_for() -> None:
    seen: list[Any] = []
    output = BUILTINS["local/fail"]().predict(
        {"message": "out of memory", "after": 2}, RecordingContext()
    )

    async def read() -> None:
        async for value in output:
            seen.append(value)  # noqa: PERF401 - the values before the error count

    with pytest.raises(ModelError, match=r"^out of memory$"):
        await read()

    assert seen == ["piece 1 ", "piece 2 "]


async def test_slow_logs_its_progress() -> None:
    context = RecordingContext()

    assert await run("local/slow", context, seconds=0.01, steps=4) == [
        "waited 0.01 seconds in 4 steps"
    ]
    found = [PROGRESS.match(line) for line in context.logs.splitlines()]
    assert [match and match.groups() for match in found] == [
        ("0", "0", "4"),
        ("25", "1", "4"),
        ("50", "2", "4"),
        ("75", "3", "4"),
        ("100", "4", "4"),
    ]


async def test_slow_stops_when_it_is_cancelled() -> None:
    context = RecordingContext()
    task = asyncio.create_task(run("local/slow", context, seconds=60, steps=6))
    with anyio.fail_after(HANG):
        while not context.logs:
            await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert context.logs.splitlines()[-1] == "Stopped after 0 of 6 steps"


class TestStoryteller:
    async def test_a_seed_repeats_a_story(self) -> None:
        first, again, other = [
            await run("local/storyteller", prompt="A lighthouse", seed=seed, delay_ms=0)
            for seed in (7, 7, 8)
        ]

        assert first == again != other
        assert len(first) == 129
        assert first[-1] == "", "the last piece is an empty one"
        assert sum(token.startswith(" ") for token in first) > 64

    async def test_it_continues_the_prompt(self) -> None:
        output = await run(
            "local/storyteller", prompt="Once upon", seed=1, max_tokens=2, delay_ms=0
        )

        assert output == [" a", " time", ""]

    @pytest.mark.parametrize("prompt", ["", "?", "xyzzy plugh", "\n\n", "the lighthouse"])
    async def test_any_prompt_gives_a_story(self, prompt: str) -> None:
        context = RecordingContext()
        output = await run("local/storyteller", context, prompt=prompt, max_tokens=20, delay_ms=0)

        assert len(output) == 21
        assert re.fullmatch(r"Using seed: \d+\n", context.logs)
        assert context.metrics["output_token_count"] == 20

    async def test_without_temperature_the_seed_does_not_matter(self) -> None:
        stories = [
            await run(
                "local/storyteller",
                prompt="Once upon",
                seed=seed,
                temperature=0,
                max_tokens=40,
                delay_ms=0,
            )
            for seed in (1, 2)
        ]

        assert stories[0] == stories[1]

    async def test_a_trained_version_uses_the_words_of_its_text(self) -> None:
        text = "The red fox runs. The red fox sleeps. A grey owl runs and the red fox sleeps."
        context = RecordingContext()
        model = BUILTINS["local/storyteller"]()

        trained, _ = await model.train({"text": text}, context)
        output = await run(trained, prompt="Tell me", max_tokens=200, seed=1, delay_ms=0)

        assert trained.version_id != model.version_id
        assert {token.strip() for token in output} <= {*(t.strip() for t in tokenize(text)), ""}
        assert PROGRESS.match(context.logs.splitlines()[-1])
        assert context.logs.splitlines()[-1].startswith("100%")

    async def test_a_text_too_short_to_learn_from_is_refused(self) -> None:
        model = BUILTINS["local/storyteller"]()

        with pytest.raises(ValueError, match="three words"):
            await model.train({"text": "Too short"}, RecordingContext())

    @pytest.mark.parametrize("weights", [b"", b"{}", b"\xff", b'{"order":2,"starts":[],"next":{}}'])
    async def test_foreign_weights_are_refused(self, weights: bytes) -> None:
        model = BUILTINS["local/storyteller"]().with_weights(weights)

        with pytest.raises(ValueError, match="weights"):
            await run(model, prompt="hi")

    def test_a_chain_is_the_same_after_dump_and_load(self) -> None:
        chain = Chain.learn(tokenize(TALES))

        assert Chain.load(chain.dump()) == chain

    def test_tokens_put_together_are_the_text(self) -> None:
        assert "".join(tokenize(TALES)) == TALES.strip()


class TestPictures:
    async def test_mandelbrot_renders_the_set(self) -> None:
        context = RecordingContext()
        output = await run(
            "local/mandelbrot", context, width=31, height=21, iterations=50, palette="ocean"
        )
        (file,) = context.saved
        width, height, colors = pixels(file.data)

        assert output == ["https://files.test/1/mandelbrot.png"]
        assert (file.content_type, width, height) == ("image/png", 31, 21)
        middle = 3 * (31 * 10 + 15)
        assert colors[middle : middle + 3] == b"\0\0\0", "the middle is inside the set"
        assert colors[:3] != b"\0\0\0", "the corner is not"
        assert context.logs.startswith("Rendering 31x21 with 50 iterations\n")
        assert context.logs.splitlines()[-1].startswith("100%|██████████| 16/16 [")

    async def test_a_cancelled_rendering_ends_early(self) -> None:
        context = RecordingContext()
        context.canceled = True

        await run("local/mandelbrot", context, width=16, height=16)

        assert context.logs.splitlines()[-1].startswith("  6%|")
        assert set(pixels(context.saved[0].data)[2][3 * 16 :]) == {0}

    async def test_frames_are_files_one_after_another(self) -> None:
        context = RecordingContext()

        output = await run("local/frames", context, count=3, size=8)

        assert [url.rpartition("/")[2] for url in output] == [f"frame-{i}.png" for i in range(3)]
        pictures = [pixels(file.data) for file in context.saved]
        assert len(set(pictures)) == 3

    @pytest.mark.parametrize(("point", "rounds"), [(0j, 9), (-1 + 0j, 9), (2 + 2j, 1), (1 + 0j, 3)])
    def test_a_point_escapes_or_stays(self, point: complex, rounds: int) -> None:
        assert escape_time(point, 9) == rounds

    def test_a_png_holds_its_pixels(self) -> None:
        rows = [bytes([1, 2, 3, 4, 5, 6]), bytes([7, 8, 9, 10, 11, 12])]

        assert pixels(png(2, 2, rows)) == (2, 2, b"".join(rows))


class TestProgress:
    @pytest.mark.parametrize(
        ("done", "total", "seconds", "line"),
        [
            (0, 16, 0.0, "  0%|          | 0/16 [00:00<?, ?it/s]"),
            (1, 16, 0.1256, "  6%|▋         | 1/16 [00:00<00:01,  7.96it/s]"),
            (1, 4, 8.0, " 25%|██▌       | 1/4 [00:08<00:24,  8.00s/it]"),
            (4, 4, 3725.0, "100%|██████████| 4/4 [1:02:05<00:00, 931.25s/it]"),
            (0, 0, 0.0, "100%|██████████| 0/0 [00:00<?, ?it/s]"),
        ],
    )
    def test_a_line_looks_like_recorded_ones(
        self, done: int, total: int, seconds: float, line: str
    ) -> None:
        assert progress_line(done, total, seconds) == line

    def test_it_counts(self, capsys: pytest.CaptureFixture[str]) -> None:
        ticks = iter([10.0, 12.0])

        progress = Progress(2, clock=lambda: next(ticks))
        progress.advance()

        assert capsys.readouterr().out.splitlines() == [
            "  0%|          | 0/2 [00:00<?, ?it/s]",
            " 50%|█████     | 1/2 [00:02<00:02,  2.00s/it]",
        ]
