"""``run`` and ``stream``, as programs, against an embedded server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Final

import pytest

from replicate_async import Prediction, Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import Ran, ended, environment, run, start
from tests.support.embedded import until
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

INTERRUPTED: Final = "Prediction interrupted; please retry (code: PA)"


async def first_prediction(client: Replicate) -> Prediction:
    """Wait until the server knows one."""
    while True:
        async for prediction in client.predictions.list():
            return prediction
        await asyncio.sleep(0.02)


async def test_values_are_what_the_schema_says(server: LocalReplicate) -> None:
    ran = await run(
        "run",
        "acme/shapes",
        "name=007",
        "count=3",
        "ratio=2",
        "loud=yes",
        "kind=square",
        "sizes=1",
        "sizes=2",
        'extra={"a": [true]}',
        server=server,
    )

    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert json.loads(ran.out) == {
        "name": "007",
        "count": 3,
        "ratio": 2,
        "loud": True,
        "kind": "square",
        "sizes": [1, 2],
        "extra": {"a": [True]},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("nmae=x",), "nmae: there is no such input; did you mean name?", id="key"),
        pytest.param(
            ("name=x", "count=many"), "count takes an integer 1..9, not 'many'", id="type"
        ),
        pytest.param(
            ("name=x", "count=10"), "count=10 is too large; it takes an integer 1..9", id="bound"
        ),
        pytest.param(
            ("name=x", "kind=sqare"),
            'kind="sqare" is none of its choices; did you mean "square"?',
            id="choice",
        ),
        pytest.param((), "name is required: a string.", id="missing"),
        pytest.param(("count=0",), "name is required: a string. count=0 is too small", id="two"),
    ],
)
async def test_a_wrong_input_is_one_line_and_the_list_of_inputs(
    server: LocalReplicate, arguments: tuple[str, ...], said: str
) -> None:
    ran = await run("run", "acme/shapes", *arguments, server=server)

    first, _, rest = ran.err.partition("\n")
    assert ran.code == 2
    assert ran.out == ""
    assert first.startswith(f"error: {said}")
    listed = [line.split()[0] for line in rest.splitlines()[2:]]
    assert listed == ["name", "count", "ratio", "loud", "kind", "sizes", "extra"]
    assert "round | square" in rest


async def test_a_file_is_sent_with_its_type(server: LocalReplicate, tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(b"x" * 10)
    large.write_bytes(b"x" * 300_000)

    first = await run("run", "acme/measure", f"file=@{small}", server=server)
    second = await run("run", "acme/measure", f"file=@{large}", server=server)

    assert (first.out, first.err) == ("10 bytes of image/png\n", "")
    assert second.out.startswith("300000 bytes of ")
    async with Replicate(server.api_token, base_url=server.url) as client:
        uploads = [(f.name, f.content_type) async for f in client.files.list()]
    assert uploads == [("large.png", "image/png")]


async def test_a_text_streams_as_text_with_one_last_newline(server: LocalReplicate) -> None:
    ran = await run("stream", "acme/spell", "word=straße", server=server)

    assert ran == Ran(0, "straße\n", "")


async def test_files_stream_as_a_url_on_each_line(server: LocalReplicate) -> None:
    ran = await run("stream", "acme/pictures", server=server)

    assert ran.code == 0
    assert [line.rpartition("/")[2] for line in ran.out.splitlines()] == ["0.png", "1.png"]


async def test_events_are_lines_of_json_when_asked_for(server: LocalReplicate) -> None:
    ran = await run("stream", "acme/spell", "word=ab", "--json", server=server)

    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["event"] for event in events] == ["output", "output", "done"]
    assert [event.get("data") for event in events] == ["a", "b", None]
    assert all(event["id"] for event in events)


async def test_a_failed_run_is_one_line_after_its_output(server: LocalReplicate) -> None:
    streamed = await run("stream", "local/fail", "after=1", "message=no luck", server=server)
    whole = await run("run", "local/fail", "message=no luck", "--json", server=server)

    assert streamed.code == whole.code == 1
    assert streamed.out == "piece 1 \n"
    assert streamed.err.count("\n") == 1
    assert streamed.err.startswith("error: prediction ")
    assert streamed.err.endswith("no luck\n")
    assert json.loads(whole.out)["status"] == "failed"
    assert whole.err.startswith("error: prediction ")


async def test_a_run_that_failed_by_chance_is_repeated_when_asked(server: LocalReplicate) -> None:
    runs = 0

    @server.model("acme/flaky", official=True)
    async def flaky() -> str:
        nonlocal runs
        runs += 1
        print(f"run {runs}")
        if runs == 1:
            raise RuntimeError(INTERRUPTED)
        return "done"

    command = ("run", "acme/flaky", "--retries", "1", "--logs")
    ran = await ended(await start(*command, env=environment(server)))

    assert (ran.code, ran.out) == (0, "done\n")
    first, *_, said, second = ran.err.splitlines()  # the logs of the first have a traceback
    assert (first, second) == ("run 1", "run 2")
    assert re.fullmatch(
        rf"prediction \w+ of acme/flaky ended as failed: {re.escape(INTERRUPTED)}; it is repeated",
        said,
    )


async def test_the_last_failure_of_a_repeated_run_is_its_error(server: LocalReplicate) -> None:
    failing = ("run", "local/fail", f"message={INTERRUPTED}", "--json")
    repeated = await run(*failing, "--retries", "1", server=server)
    once = await run(*failing, server=server)

    async with Replicate(server.api_token, base_url=server.url) as client:
        listed = [made.id async for made in client.predictions.list()]
    assert (repeated.code, once.code) == (1, 1)
    assert [json.loads(ran.out)["id"] for ran in (once, repeated)] == listed[:2]
    assert repeated.err.endswith("(attempt 2 of 2)\n")
    assert len(listed) == 3


async def test_ctrl_c_ends_the_repeats_of_a_run(server: LocalReplicate) -> None:
    process = await start(
        *("run", "local/fail", f"message={INTERRUPTED}", "--retries", "100"),
        env=environment(server),
    )
    assert process.stderr is not None
    async with asyncio.timeout(HANG):
        said = await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ran = await ended(process)

    assert said.endswith(b"it is repeated\n")
    assert (ran.code, ran.out) == (130, "")
    async with Replicate(server.api_token, base_url=server.url) as client:
        assert all([made.done async for made in client.predictions.list()])


@pytest.mark.parametrize("retries", ["-1", "many", "101"])
async def test_a_wrong_number_of_repeats_creates_nothing(
    server: LocalReplicate, retries: str
) -> None:
    ran = await run("run", "acme/spell", "word=a", f"--retries={retries}", server=server)

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    async with Replicate(server.api_token, base_url=server.url) as client:
        assert not [made async for made in client.predictions.list()]


async def test_logs_go_to_stderr_if_asked_for(server: LocalReplicate) -> None:
    whole = await run("run", "local/slow", "seconds=0", "steps=1", "--logs", server=server)
    streamed = await run("stream", "local/slow", "seconds=0", "steps=1", "--logs", server=server)

    assert whole.out == streamed.out == "waited 0 seconds in 1 steps\n"
    assert whole.err.count("100%") == streamed.err.count("100%") == 1


async def test_local_needs_neither_server_nor_token() -> None:
    ran = await run("run", "replicate/hello-world", "text=Ada", "--local")
    unknown = await run("run", "acme/none", "--local")

    assert ran == Ran(0, "hello Ada\n", "")
    assert unknown.code == 1
    assert unknown.err.startswith("error: The embedded server has no model acme/none;")
    assert unknown.err.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "stream"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "kill"]
)
async def test_a_signal_cancels_the_prediction_and_prints_its_id(
    server: LocalReplicate, command: str, number: signal.Signals, code: int
) -> None:
    async with Replicate(server.api_token, base_url=server.url) as client:
        process = await start(command, "local/slow", "seconds=50", env=environment(server))
        made = await first_prediction(client)

        process.send_signal(number)
        ran = await ended(process)

        assert ran == Ran(code, "", f"canceled prediction {made.id}\n")
        assert (await client.predictions.get(made.id)).status == "canceled"


async def test_the_api_cancels_a_run_after_its_time(server: LocalReplicate) -> None:
    command = ("run", "local/slow", "seconds=50", "--cancel-after", "5s")
    async with Replicate(server.api_token, base_url=server.url) as client:
        process = await start(*command, env=environment(server))
        made = await first_prediction(client)
        while (await client.predictions.get(made.id)).status == "starting":  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)

        server.advance(6)
        ran = await ended(process)
    wrong = await run("run", "acme/spell", "word=a", "--cancel-after", "1s", server=server)

    assert ran.code == 1
    assert f"prediction {made.id}" in ran.err
    assert "canceled" in ran.err
    assert "cancel_after='1s' is not between 5 seconds and 24 hours" in wrong.err


@pytest.mark.parametrize("command", ["run", "stream"])
async def test_a_webhook_is_called(server: LocalReplicate, command: str) -> None:
    bodies: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        bodies.append(await reader.readexactly(int(length[1]) if length else 0))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    receiver = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with receiver:
        hook = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/hook"
        ran = await run(command, "acme/spell", "word=a", "--webhook", hook, server=server)
        await until(lambda: any(json.loads(body)["status"] == "succeeded" for body in bodies))

    assert ran == Ran(0, "a\n", "")


async def test_a_second_signal_ends_it_at_once(server: LocalReplicate) -> None:
    fault = server.faults.add("predictions.cancel", delay=3600)
    async with Replicate(server.api_token, base_url=server.url) as client:
        process = await start("run", "local/slow", "seconds=50", env=environment(server))
        await first_prediction(client)

        process.send_signal(signal.SIGINT)
        await until(lambda: fault.happened)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(HANG):
            ran = await ended(process)

    assert (ran.code, ran.out) == (130, "")


async def test_a_reader_that_leaves_gets_no_complaint_and_cancels(server: LocalReplicate) -> None:
    reader, writer = os.pipe()
    process = await start(
        "stream",
        "local/storyteller",
        "prompt=The sea",
        "max_tokens=10000",
        env=environment(server),
        stdout=writer,
    )
    os.close(writer)

    assert await asyncio.to_thread(os.read, reader, 1)
    os.close(reader)
    _, said = await process.communicate()

    assert (process.returncode, said) == (141, b""), said
    async with Replicate(server.api_token, base_url=server.url) as client:
        assert [p.status async for p in client.predictions.list()] == ["canceled"]
