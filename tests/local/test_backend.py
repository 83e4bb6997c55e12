"""What runs a model: a class with `setup` and `predict`, and a backend of one's own."""

from __future__ import annotations

import asyncio
import codecs
import gc
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import pytest

from replicate_async.interface.annotations import AnnotationError
from replicate_async.local import (
    LocalReplicate,
    ModelFunction,
    OutputKind,
    RunHandle,
    Settings,
    Trained,
    Weights,
)
from tests.local.conftest import Gate
from tests.local.recording import RecordingContext, until
from tests.local.wire import Wire
from tests.support.embedded import embedded

pytestmark = pytest.mark.anyio


class Rot13:
    """A backend that is no Python function: all that it takes to add one."""

    version_id: str = sha256(b"acme/rot13 1").hexdigest()
    description: str | None = "Rotate letters by 13 places"
    output: OutputKind = "text"
    trainable: bool = False
    needs_setup: bool = True
    concurrency: int | None = None
    openapi_schema: Mapping[str, Any] = {
        "components": {
            "schemas": {
                "Input": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {"text": {"type": "string", "x-order": 0}},
                },
                "Output": {"type": "array", "items": {"type": "string"}},
            }
        }
    }

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def setup(self, log: Callable[[str], object]) -> None:
        log("loading the alphabet\n")
        self.calls.append("setup")

    async def aclose(self) -> None:
        self.calls.append("aclose")

    async def predict(self, input: Mapping[str, Any], run: RunHandle) -> AsyncGenerator[str]:
        run.log(f"rotating {len(input['text'])} letters")
        for letter in input["text"]:
            yield codecs.encode(letter, "rot13")

    async def train(self, input: Mapping[str, Any], run: RunHandle) -> Trained:
        raise NotImplementedError


async def test_a_toy_backend_is_a_model() -> None:
    backend = Rot13()
    async with embedded(Settings()) as (server, client):
        version = server.add_model("acme/rot13", backend, official=True)
        assert backend.calls == [], "nothing has run yet"

        run = await client.predictions.create("acme/rot13", {"text": "Hello"})
        ended = await client.predictions.wait(run)
        async with client.stream("acme/rot13", {"text": "Hello"}) as stream:
            streamed = [str(event) async for event in stream]

        assert backend.calls == ["setup"]
    assert backend.calls == ["setup", "aclose"], "it is closed with the server"
    assert version == backend.version_id
    assert (ended.output, ended.logs) == (list("Uryyb"), "rotating 5 letters\n")
    assert "".join(streamed) == "Uryyb"


def test_a_version_id_is_64_hexadecimal_digits() -> None:
    backend = Rot13()
    backend.version_id = "1"

    with pytest.raises(ValueError, match="'1' is not 64 hexadecimal digits"):
        LocalReplicate().add_model("acme/rot13", backend)


class TestClasses:
    async def test_a_class_is_set_up_once_before_its_first_prediction(
        self, server: LocalReplicate, wire: Wire
    ) -> None:
        made: list[str] = []

        @server.model("acme/greeter")
        class Greeter:
            """Greet by name.

            In English.
            """

            def setup(self) -> None:
                made.append(threading.current_thread().name)
                self.greeting = "hello"

            def predict(self, name: str) -> str:
                return f"{self.greeting} {name}"

        assert not made, "not when it is registered"
        outputs = [(await wire.finish("acme/greeter", {"name": n}))["output"] for n in "ab"]
        shown = await wire.get("/models/acme/greeter")

        assert outputs == ["hello a", "hello b"]
        assert made == ["model"], "once, and not in the event loop's thread"
        assert shown["description"] == "Greet by name."
        properties = shown["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]
        assert list(properties["properties"]) == ["name"]

    async def test_a_prediction_is_starting_until_the_setup_is_done(
        self, server: LocalReplicate, wire: Wire, gate: Gate
    ) -> None:
        @server.model("acme/large")
        class Large:
            async def setup(self) -> None:
                gate.entered.set()
                await gate.open.wait()

            async def predict(self) -> Iterator[str]:
                return iter("ab")

        first = await wire.run("acme/large", {})
        await gate.entered.wait()
        second = await wire.run("acme/large", {})
        shown = await wire.get(f"/predictions/{first['id']}")
        assert shown["status"] == "starting"
        assert "started_at" not in shown

        gate.open.set()

        for run in (first, second):
            ended = await wire.ended(run["id"])
            assert (ended["status"], ended["output"]) == ("succeeded", ["a", "b"])

    async def test_a_canceled_prediction_leaves_the_setup_to_the_next(
        self, server: LocalReplicate, wire: Wire, gate: Gate
    ) -> None:
        setups: list[int] = []

        @server.model("acme/large")
        class Large:
            async def setup(self) -> None:
                setups.append(1)
                gate.entered.set()
                await gate.open.wait()

            async def predict(self) -> str:
                return "done"

        first = await wire.run("acme/large", {})
        await gate.entered.wait()
        await wire.ask("POST", f"/predictions/{first['id']}/cancel")
        second = await wire.run("acme/large", {})
        gate.open.set()

        assert (await wire.ended(first["id"]))["status"] == "canceled"
        assert (await wire.ended(second["id"]))["output"] == "done"
        assert setups == [1]

    async def test_a_failed_setup_fails_the_prediction_and_the_next_tries_again(
        self, server: LocalReplicate, wire: Wire
    ) -> None:
        attempts: list[int] = []

        @server.model("acme/fragile")
        class Fragile:
            def setup(self) -> None:
                print("loading weights")
                attempts.append(1)
                if len(attempts) == 1:
                    raise OSError("no weights")

            def predict(self) -> str:
                return "done"

        failed = await wire.finish("acme/fragile", {})
        well = await wire.finish("acme/echo", {"text": "a"})
        again = await wire.finish("acme/fragile", {})

        assert (failed["status"], failed["error"]) == ("failed", "no weights")
        assert failed["logs"].startswith("loading weights\nTraceback")
        assert "OSError: no weights" in failed["logs"]
        assert "started_at" not in failed
        assert well["output"] == "a", "the server goes on"
        assert (again["output"], again["logs"]) == ("done", "")

    @pytest.mark.parametrize(
        "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
    )
    async def test_no_error_of_a_setup_ends_the_server(
        self, server: LocalReplicate, wire: Wire, error: BaseException
    ) -> None:
        @server.model("acme/rude")
        class Rude:
            async def setup(self) -> None:
                raise error

            def predict(self) -> str:
                return "done"

        assert (await wire.finish("acme/rude", {}))["status"] == "failed"
        assert (await wire.finish("acme/echo", {"text": "a"}))["status"] == "succeeded"

    async def test_a_class_runs_one_prediction_at_once_unless_it_says_otherwise(
        self, server: LocalReplicate, wire: Wire, gate: Gate
    ) -> None:
        entered: list[str] = []

        class Model:
            async def predict(self, name: str) -> str:
                entered.append(name)
                await gate.open.wait()
                return name

        server.model("acme/one")(Model)
        server.model("acme/two", concurrency=2)(Model)
        ones = [await wire.run("acme/one", {"name": f"one {n}"}) for n in range(2)]
        for n in range(2):
            await wire.run("acme/two", {"name": f"two {n}"})
        await until(lambda: len(entered) == 3)

        assert sorted(entered) == ["one 0", "two 0", "two 1"]
        assert (await wire.get(f"/predictions/{ones[1]['id']}"))["status"] == "starting"
        gate.open.set()
        assert (await wire.ended(ones[1]["id"]))["output"] == "one 1"

    async def test_weights_arrive_in_the_setup(self) -> None:
        class Speaker:
            def setup(self, weights: Weights | None = None) -> None:
                self.word = (weights or b"?").decode()

            def predict(self, times: int = 2) -> str:
                return self.word * times

        def train(word: str) -> Weights:
            return Weights(word.encode())

        model = ModelFunction(Speaker, train=train)
        trained, _ = await model.train({"word": "!"}, RecordingContext())

        for version, output in ((model, "??"), (trained, "!!")):
            await version.setup(print)
            run = version.predict({}, RecordingContext())
            assert [value async for value in run] == [output]
            await version.aclose()
        assert trained.version_id != model.version_id

    async def test_predict_without_setup_says_so(self) -> None:
        class Model:
            def predict(self) -> str:
                return ""

        with pytest.raises(RuntimeError, match=r"await setup\(\) first"):
            await anext(ModelFunction(Model).predict({}, RecordingContext()))

    def test_a_class_that_is_no_model_is_refused(self) -> None:
        class Empty:
            pass

        class Wants:
            def setup(self, folder: str) -> None:
                pass

            def predict(self) -> str:
                return ""

        with pytest.raises(AnnotationError, match="Empty: a class that is a model has a method"):
            ModelFunction(Empty)
        with pytest.raises(AnnotationError, match="parameter 'folder': setup is called with"):
            ModelFunction(Wants)
        with pytest.raises(ValueError, match="at least one"):
            ModelFunction(Wants, concurrency=0)


async def test_closing_the_server_ends_a_setup(gate: Gate) -> None:
    class Endless:
        async def setup(self) -> None:
            gate.entered.set()
            try:
                await gate.open.wait()
            finally:
                gate.cancelled.set()

        def predict(self) -> str:
            return ""

    async with embedded(Settings()) as (server, client):
        server.add_model("acme/endless", Endless, official=True)
        await client.predictions.create("acme/endless", {})
        await gate.entered.wait()

    assert gate.cancelled.is_set()


async def test_an_async_setup_that_is_left_before_it_begins_is_closed() -> None:
    making, made = threading.Event(), threading.Event()

    class Model:
        def __init__(self) -> None:
            making.set()
            made.wait()

        async def setup(self) -> None: ...

        def predict(self) -> str:
            return ""

    task = asyncio.create_task(ModelFunction(Model).setup(print))
    await asyncio.to_thread(making.wait)
    task.cancel()
    asyncio.get_running_loop().call_soon(made.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    gc.collect()  # warns of a coroutine that was never awaited


def test_an_async_setup_that_outlives_the_event_loop_is_closed() -> None:
    making, made, returned = threading.Event(), threading.Event(), threading.Event()

    class Model:
        def __init__(self) -> None:
            making.set()
            made.wait()

        async def setup(self) -> None: ...

        def predict(self) -> str:
            return ""

        def __del__(self) -> None:
            returned.set()

    async def leave() -> None:
        task = asyncio.create_task(ModelFunction(Model).setup(print))
        await asyncio.to_thread(making.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    made.set()
    for _ in range(100):
        gc.collect()  # warns of a coroutine that was never awaited
        if returned.wait(0.01):
            break
    assert returned.is_set()
