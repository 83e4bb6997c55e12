# Models print; the test is where that goes.
from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec
import pytest

from replicate_async.core.secret import Secret
from replicate_async.interface.types import InputFile, OutputFile, Weights
from replicate_async.local.models.backend import ModelBackend
from replicate_async.local.models.current_run import log
from replicate_async.local.models.function import ModelFunction
from tests.local.recording import RecordingContext, outputs
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

USER: ContextVar[str] = ContextVar("user", default="none")


class TestKinds:
    async def test_each_kind_of_function_gives_its_output(self) -> None:
        def plain(n: int) -> int:
            return n

        async def asynchronous(n: int) -> int:
            return n

        def generator(n: int) -> Iterator[int]:
            yield from range(n)

        async def asynchronous_generator(n: int) -> AsyncIterator[int]:
            for i in range(n):
                yield i

        def returns_iterator(n: int) -> Iterator[int]:
            return iter(range(n))

        assert await outputs(plain, {"n": 3}) == [3]
        assert await outputs(asynchronous, {"n": 3}) == [3]
        assert await outputs(generator, {"n": 3}) == [0, 1, 2]
        assert await outputs(asynchronous_generator, {"n": 3}) == [0, 1, 2]
        assert await outputs(returns_iterator, {"n": 3}) == [0, 1, 2]
        assert await outputs(generator, {"n": 0}) == []

    async def test_the_kind_of_the_output_follows_from_the_annotation(self) -> None:
        def files() -> Iterator[Path]:
            yield Path()

        def text() -> Iterator[str]:
            yield ""

        def numbers() -> Iterator[int]:
            yield 1

        def one() -> str:
            return ""

        kinds = {each.__name__: ModelFunction(each).output for each in (files, text, numbers, one)}

        assert kinds == {"files": "files", "text": "text", "numbers": "items", "one": "value"}

    async def test_a_blocking_function_does_not_block_the_loop(self) -> None:
        release = threading.Event()

        def blocks() -> Iterator[str]:
            assert release.wait(5)
            yield threading.current_thread().name

        asyncio.get_running_loop().call_soon(release.set)

        assert await outputs(blocks) == ["model"]

    async def test_a_generator_keeps_its_thread_and_context_variables(self) -> None:
        def generator() -> Iterator[list[Any]]:
            yield [USER.get(), threading.get_ident()]
            USER.set("changed")
            yield [USER.get(), threading.get_ident()]

        USER.set("caller")
        (first, thread), (second, same) = await outputs(generator)

        assert (first, second) == ("caller", "changed")
        assert thread == same != threading.get_ident()
        assert USER.get() == "caller"

    async def test_an_asynchronous_generator_may_hold_a_scope_across_its_items(self) -> None:
        async def generator() -> AsyncIterator[int]:
            async with asyncio.timeout(HANG), asyncio.TaskGroup() as tasks:
                for i in range(3):
                    yield await tasks.create_task(asyncio.sleep(0, i))

        assert await outputs(generator) == [0, 1, 2]

    async def test_the_next_step_is_taken_when_it_is_asked_for(self) -> None:
        taken: list[int] = []

        def generator() -> Iterator[int]:
            for i in range(3):
                taken.append(i)
                yield i

        async with aclosing(ModelFunction(generator).predict({}, RecordingContext())) as run:
            await anext(run)
            await anyio.sleep(0.01)

        assert taken == [0]


class Mood(Enum):
    HAPPY = "happy"


@dataclass(frozen=True)
class Point:
    x: float


class TestInputs:
    async def test_values_arrive_as_their_annotations_say(self) -> None:
        got: dict[str, object] = {}

        def predict(
            scale: float,
            steps: int,
            mood: Mood,
            key: Secret,
            place: Point,
            numbers: list[float],
            maybe: int | None = None,
            mode: Literal["a", "b"] = "b",
            later: Mood = Mood.HAPPY,
        ) -> str:
            got.update(locals())
            return "done"

        await outputs(
            predict,
            {
                "scale": 1,
                "steps": 4.0,
                "mood": "happy",
                "key": "s3cret",
                "place": {"x": 2},
                "numbers": [1, 2.5],
                "unheard_of": 1,
            },
        )

        key = got.pop("key")
        got.pop("got", None)
        assert isinstance(key, Secret)
        assert key.get_secret_value() == "s3cret"
        assert got == {
            "scale": 1.0,
            "steps": 4,
            "mood": Mood.HAPPY,
            "place": Point(2.0),
            "numbers": [1.0, 2.5],
            "maybe": None,
            "mode": "b",
            "later": Mood.HAPPY,
        }
        assert type(got["scale"]) is float
        assert type(got["steps"]) is int

    async def test_files_arrive_as_paths_or_in_memory(self) -> None:
        seen: list[object] = []

        def predict(first: Path, others: list[Path], last: InputFile) -> str:
            seen.extend([first.name, first.read_bytes(), [path.read_bytes() for path in others]])
            seen.append(last)
            return str(first)

        data_url = "data:image/png;base64,AAAA"
        context = RecordingContext(
            {"https://x.test/a/cat.jpg?s=1": b"cat", data_url: b"\0", "https://x.test/..": b"up"}
        )
        urls = {
            "first": "https://x.test/a/cat.jpg?s=1",
            "others": [data_url, "https://x.test/.."],
            "last": data_url,
        }
        (path,) = await outputs(predict, urls, context)

        assert seen[:3] == ["cat.jpg", b"cat", [b"\0", b"up"]]
        assert seen[3] == InputFile(b"\0", "input.png", "image/png")
        assert not await anyio.Path(path).exists(), "the run's folder is removed"

    async def test_a_default_is_not_shared_between_runs(self) -> None:
        def predict(options: dict[str, int] = {"n": 0}) -> int:  # noqa: B006 - what is tested
            options["n"] += 1
            return options["n"]

        assert await outputs(predict) == [1]
        assert await outputs(predict) == [1]

    async def test_a_missing_input_is_named(self) -> None:
        def predict(prompt: str) -> str:
            return prompt

        with pytest.raises(ValueError, match="'prompt' is required"):
            await outputs(predict)


class Captioned(msgspec.Struct, frozen=True, kw_only=True):
    image: OutputFile
    caption: str | None = None


class TestOutputs:
    async def test_files_anywhere_in_the_output_become_urls(self, tmp_path: Path) -> None:
        picture = tmp_path / "cat.png"
        picture.write_bytes(b"png")

        def predict() -> dict[str, Any]:
            return {
                "path": picture,
                "list": [OutputFile(b"1", "one.txt", "text/plain")],
                "struct": Captioned(image=OutputFile(b"2")),
                "point": Point(1.5),
                "mood": Mood.HAPPY,
            }

        context = RecordingContext()

        assert await outputs(predict, {}, context) == [
            {
                "path": "https://files.test/1/cat.png",
                "list": ["https://files.test/2/one.txt"],
                "struct": {"image": "https://files.test/3/output", "caption": None},
                "point": {"x": 1.5},
                "mood": "happy",
            }
        ]
        assert context.saved[0] == OutputFile(b"png", "cat.png", "image/png")

    async def test_numbers_of_numpy_are_numbers(self) -> None:
        class Array:
            def tolist(self) -> list[float]:
                return [0.5, 1.0]

        def predict() -> list[list[float]]:
            arrays: Any = [Array()]
            return arrays  # type: ignore[no-any-return] # stands in for numpy's

        assert await outputs(predict) == [[[0.5, 1.0]]]

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (float("nan"), "nan, which JSON cannot hold"),
            (b"png", "OutputFile"),
            (Secret("hunter2"), "must not hold a Secret"),
        ],
    )
    async def test_a_value_that_json_does_not_have_is_refused(
        self, value: object, words: str
    ) -> None:
        def predict() -> object:
            return value

        with pytest.raises((TypeError, ValueError), match=words) as error:
            await outputs(predict)
        assert "hunter2" not in str(error.value)

    async def test_an_output_of_another_type_than_promised_is_an_error(self) -> None:
        def predict() -> int:
            answer: Any = "four"
            return answer  # type: ignore[no-any-return] # what is tested

        with pytest.raises(TypeError, match="Expected: integer, given: string"):
            await outputs(predict)

    async def test_a_missing_iterator_is_an_error(self) -> None:
        def predict() -> Iterator[int]:
            answer: Any = 4
            return answer  # type: ignore[no-any-return] # what is tested

        with pytest.raises(TypeError, match="returned a int"):
            await outputs(predict)


class TestErrors:
    @pytest.mark.parametrize("kind", ["plain", "asynchronous", "generator", "async generator"])
    @pytest.mark.parametrize("error", [LookupError("no such layer"), SystemExit(3)])
    async def test_an_error_of_the_model_is_raised(self, kind: str, error: BaseException) -> None:
        def plain() -> str:
            raise error

        async def asynchronous() -> str:
            raise error

        def generator() -> Iterator[str]:
            yield "first"
            raise error

        async def asynchronous_generator() -> AsyncIterator[str]:
            yield "first"
            raise error

        functions: dict[str, Callable[..., object]] = {
            "plain": plain,
            "asynchronous": asynchronous,
            "generator": generator,
            "async generator": asynchronous_generator,
        }
        seen: list[Any] = []

        async def read() -> None:
            async for value in ModelFunction(functions[kind]).predict({}, RecordingContext()):
                seen.append(value)  # noqa: PERF401 - the values before the error count

        with pytest.raises((LookupError, RuntimeError), match=r"no such layer|SystemExit\(3\)"):
            await read()

        assert seen == (["first"] if "generator" in kind else [])

    async def test_a_model_that_cancels_itself_has_failed(self) -> None:
        async def predict() -> str:
            raise asyncio.CancelledError

        with pytest.raises(RuntimeError, match="cancelled itself"):
            await outputs(predict)


class TestVersions:
    def test_a_version_id_follows_from_code_schema_name_and_weights(self) -> None:
        def one(prompt: str) -> str:
            return prompt

        def other(prompt: str) -> str:
            return prompt.upper()

        def trained(prompt: str, weights: Weights | None = None) -> str:
            return f"{prompt}{weights!r}"

        model = ModelFunction(trained)
        ids = [
            ModelFunction(one).version_id,
            ModelFunction(other).version_id,
            ModelFunction(one, name="acme/one").version_id,
            model.version_id,
            model.with_weights(b"1").version_id,
            model.with_weights(b"2").version_id,
        ]

        assert len(set(ids)) == len(ids)
        assert all(len(version) == 64 and int(version, 16) for version in ids)
        assert ModelFunction(one).version_id == ids[0]

    def test_code_without_a_source_file_has_a_stable_id(self) -> None:
        space: dict[str, Any] = {}
        ids: list[str] = []
        for body in ("text", "text", "text * 2"):
            exec(f"def predict(text: str) -> str: return (lambda: {body})()", space)
            ids.append(ModelFunction(space["predict"]).version_id)

        assert ids[0] == ids[1] != ids[2]

    async def test_a_trained_version_runs_with_its_weights(self) -> None:
        def predict(prompt: str, *, weights: Weights | None = None) -> str:
            return prompt + (weights or b"?").decode()

        def train(text: str) -> bytes:
            log("training")
            return text.encode()

        context = RecordingContext()
        model = ModelFunction(predict, train=train)
        trained, weights = await model.train({"text": "!"}, context)

        async def say(version: ModelBackend) -> list[Any]:
            return [value async for value in version.predict({"prompt": "hi"}, context)]

        assert weights == b"!"
        assert context.logs == "training\n"
        assert trained.trainable
        assert await say(model) == ["hi?"]
        assert await say(trained) == ["hi!"]

    @pytest.mark.parametrize("form", ["bytes", "file", "path"])
    async def test_weights_may_be_bytes_or_a_file(self, form: str, tmp_path: Path) -> None:
        (tmp_path / "weights").write_bytes(b"w")
        results = {"bytes": b"w", "file": OutputFile(b"w"), "path": tmp_path / "weights"}

        def predict(weights: Weights) -> str:
            return str(weights)

        async def train() -> object:
            return results[form]

        model = ModelFunction(predict, train=train)

        assert (await model.train({}, RecordingContext())).weights == b"w"

    async def test_a_model_without_training_says_so(self) -> None:
        def predict(prompt: str) -> str:
            """Repeat the prompt.

            More of it.
            """
            return prompt

        model = ModelFunction(predict)

        assert not model.trainable
        assert model.description == "Repeat the prompt."
        with pytest.raises(RuntimeError, match="cannot be trained"):
            await model.train({}, RecordingContext())
