# Models print; the test is where that goes.
from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, redirect_stdout, suppress
from io import StringIO

import pytest

from replicate_async.local.models.current_run import LineBuffer, current_run, log
from replicate_async.local.models.execution import execute
from replicate_async.local.models.function import ModelFunction
from tests.local.recording import RecordingContext, outputs, until
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio


class TestStopping:
    async def test_closing_runs_the_finally_blocks(self) -> None:
        closed: list[str] = []

        def generator() -> Iterator[int]:
            try:
                yield 1
                yield 2
            finally:
                time.sleep(0.02)
                closed.append("generator")

        async def asynchronous() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                closed.append("asynchronous")

        for function in (generator, asynchronous):
            run = ModelFunction(function).predict({}, RecordingContext())
            assert await anext(run) == 1
            await run.aclose()
            assert closed.pop() == function.__name__

    async def test_a_cancelled_caller_stops_an_asynchronous_model_where_it_waits(self) -> None:
        context = RecordingContext()

        async def predict() -> str:
            try:
                log("waiting")
                await asyncio.sleep(60)
            finally:
                log("stopped" if current_run().canceled else "not told")
            return "done"

        task = asyncio.create_task(outputs(predict, {}, context))
        await until(lambda: "waiting" in context.logs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert context.logs == "waiting\nstopped\n"

    async def test_a_stuck_thread_is_abandoned(self) -> None:
        release, closed = threading.Event(), threading.Event()
        context = RecordingContext()

        def generator() -> Iterator[int]:
            try:
                print("stuck")
                release.wait(HANG)
                yield 1
            finally:
                log("back")
                closed.set()

        task = asyncio.create_task(outputs(generator, {}, context))
        await until(lambda: "stuck" in context.logs)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert not closed.is_set(), "the caller does not wait for it"
        release.set()
        await until(closed.is_set)
        await asyncio.sleep(0)
        assert context.logs == "stuck\n", "later output is dropped"

    async def test_an_asynchronous_model_that_does_not_stop_is_abandoned(self) -> None:
        release = asyncio.Event()
        ended: list[str] = []

        async def stubborn() -> AsyncIterator[int]:
            yield 1
            while not release.is_set():
                with suppress(asyncio.CancelledError):
                    await release.wait()
            ended.append("at last")

        async def read() -> None:
            async with aclosing(
                execute(stubborn, RecordingContext(), iterates=True, grace=0.01)
            ) as run:
                async for _ in run:
                    started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await started.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert not ended
        release.set()
        await until(lambda: bool(ended))

    async def test_a_generator_still_in_its_step_closes_after_it(self) -> None:
        steps: list[str] = []
        entered, release = threading.Event(), threading.Event()

        def generator() -> Iterator[int]:
            try:
                entered.set()
                release.wait(HANG)
                steps.append("step")
                yield 1
                steps.append("another step")
            finally:
                steps.append("closed")

        # Held here, so that it is not the garbage collector that closes it.
        held = generator()

        def predict() -> Iterator[int]:
            return held

        task = asyncio.create_task(outputs(predict))
        await until(entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await until(lambda: "closed" in steps)

        assert steps == ["step", "closed"]

    async def test_blocking_code_sees_whether_it_is_cancelled(self) -> None:
        context = RecordingContext()

        def predict() -> str:
            log("looping")
            while not current_run().canceled:
                time.sleep(0.001)
            return "stopped"

        task = asyncio.create_task(outputs(predict, {}, context))
        await until(lambda: "looping" in context.logs)
        context.canceled = True

        assert await task == ["stopped"]


class TestLogs:
    async def test_output_of_a_run_is_written_to_its_own_logs(self) -> None:
        contexts = {name: RecordingContext() for name in ("a", "b")}

        async def generator(name: str) -> AsyncIterator[str]:
            for turn in range(2):
                print(name, turn)
                await asyncio.sleep(0.001)
                yield name

        def blocking(name: str) -> Iterator[str]:
            for turn in range(2):
                print(name, turn, file=sys.stderr)
                yield name

        with redirect_stdout(StringIO()) as console:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(outputs(generator, {"name": "a"}, contexts["a"]))
                tasks.create_task(outputs(blocking, {"name": "b"}, contexts["b"]))
                await asyncio.sleep(0)
                print("the server's own")
            assert sys.stdout is console, "the stream is back in its place"

        assert contexts["a"].logs == "a 0\na 1\n"
        assert contexts["b"].logs == "b 0\nb 1\n"
        assert console.getvalue() == "the server's own\n"

    async def test_the_stream_inside_a_model_is_still_a_stream(self) -> None:
        def predict() -> bool:
            sys.stdout.writelines(["one\n", "two\n"])
            sys.stdout.flush()
            return sys.stdout.isatty()

        context = RecordingContext()
        with redirect_stdout(StringIO()):
            assert await outputs(predict, {}, context) == [False]

        assert context.logs == "one\ntwo\n"

    async def test_another_replacement_of_stdout_stays(self) -> None:
        mine = StringIO()

        async def predict() -> str:
            sys.stdout = mine
            return "done"

        before = sys.stdout
        try:
            await outputs(predict)
            assert sys.stdout is mine
        finally:
            sys.stdout = before

    async def test_an_unfinished_line_is_kept(self) -> None:
        context = RecordingContext()

        def predict() -> str:
            print("begun", end="")
            log("whole line")
            sys.stdout.write("last")
            return "done"

        await outputs(predict, {}, context)

        assert context.logs == "begun\nwhole line\nlast\n"

    async def test_logs_and_metrics_come_before_the_output_that_follows_them(self) -> None:
        context = RecordingContext()

        def predict() -> Iterator[str]:
            log("one")
            current_run().metric("tokens", 7)
            yield "first"
            log("two")

        async with aclosing(ModelFunction(predict).predict({}, context)) as run:
            await anext(run)
            assert context.logs == "one\n"
            assert context.metrics == {"tokens": 7}

    def test_outside_of_a_model_log_prints(self, capsys: pytest.CaptureFixture[str]) -> None:
        log("loading", 3)

        assert capsys.readouterr().out == "loading 3\n"
        with pytest.raises(RuntimeError, match="no model is running"):
            current_run()

    @pytest.mark.parametrize(
        ("writes", "lines"),
        [
            (["a\nb\n"], ["a", "b"]),
            (["a", "b\n"], ["ab"]),
            (["\r  0%|", "\r 50%|", "\r100%|\n"], ["  0%|", " 50%|", "100%|"]),
            (["a\r", "\nb\r\n"], ["a", "b"]),
            (["a\n\nb\n"], ["a", "", "b"]),
            (["rest"], ["rest"]),
            (["rest\r"], ["rest"]),
        ],
    )
    def test_a_carriage_return_ends_a_line_too(self, writes: list[str], lines: list[str]) -> None:
        buffer = LineBuffer()

        assert [line for text in writes for line in buffer.feed(text)] + buffer.flush() == lines
