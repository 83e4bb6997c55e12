"""What an editor shows of the most used calls, asked from pyright's language server."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from replicate_async import FileOutput, Replicate, Stream, save_all, webhooks
from replicate_async.local import LocalReplicate
from tests.interface.test_source import MODULE
from tests.support.sentinel import TOKEN

PROGRAM: Final = "pyright-langserver"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="the types session installs it"),
]

SOURCE: Final = """\
from replicate_async import FileInput, FileOutput, Replicate, Stream, save_all, webhooks
from replicate_async.local import LocalReplicate
from replicate_async.resources._options import Deadline, Wait
from replicate_async.resources._prepared_input import Input
import sdxl

class Aliases:
    deadline: Deadline
    file: FileInput
    input: Input
    wait: Wait

async def main(
    client: Replicate, stream: Stream, file: FileOutput, server: LocalReplicate
) -> None:
    prediction = await client.predictions.get("abc")
    prediction.status == ""
    prediction.
    images = await client.run(sdxl.MODEL, sdxl.Input(prompt="A fox", scheduler=""))
    images[0].
"""
CLIENT: Final = Replicate(TOKEN)
CALLS: Final[Mapping[str, Any]] = {
    "Replicate": Replicate,
    "client.run": CLIENT.run,
    "client.stream": CLIENT.stream,
    "client.batch": CLIENT.batch,
    "client.use": CLIENT.use,
    "client.predictions.create": CLIENT.predictions.create,
    "client.predictions.get": CLIENT.predictions.get,
    "client.predictions.wait": CLIENT.predictions.wait,
    "client.predictions.list": CLIENT.predictions.list,
    "client.predictions.cancel": CLIENT.predictions.cancel,
    "client.predictions.stream": CLIENT.predictions.stream,
    "client.models.get": CLIENT.models.get,
    "client.models.versions.list": CLIENT.models.versions.list,
    "client.trainings.create": CLIENT.trainings.create,
    "client.files.create": CLIENT.files.create,
    "file.read": FileOutput.read,
    "file.save": FileOutput.save,
    "save_all": save_all,
    "stream.final": Stream.final,
    "webhooks.verify": webhooks.verify,
    "webhooks.unwrap": webhooks.unwrap,
    "LocalReplicate": LocalReplicate,
    "server.model": LocalReplicate.model,
}
ARGUMENTS: Final = {
    "client.run": '"owner/name"',
    "client.stream": '"owner/name"',
    "client.batch": '"owner/name", []',
    "client.predictions.create": '"owner/name"',
    "client.trainings.create": '"owner/name", destination="me/mine", input={}',
}
"""Of calls with several signatures: those that take the one for names."""
LINES: Final = {name: f"{name}({ARGUMENTS.get(name, '')}" for name in CALLS}
TEXT: Final = SOURCE + "".join(f"    {line})\n" for line in LINES.values())


class LanguageServer:
    """A language server that has one file open, asked one question at a time."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._uri = (folder / "program.py").as_uri()
        root = {"uri": folder.as_uri(), "name": "tests"}
        self._ask(
            "initialize",
            processId=None,
            rootUri=root["uri"],
            workspaceFolders=[root],
            capabilities={
                "workspace": {"configuration": True},
                "textDocument": {"hover": {"contentFormat": ["markdown"]}},
            },
        )
        self._send(method="initialized", params={})
        document = {"uri": self._uri, "languageId": "python", "version": 1, "text": TEXT}
        self._send(method="textDocument/didOpen", params={"textDocument": document})

    def ask(self, method: str, before: str, after: str = "") -> Any:
        """Ask about the place in the text between two texts."""
        lines = TEXT.partition(f"    {before}{after}")[0].splitlines()
        position = {"line": len(lines), "character": 4 + len(before)}
        return self._ask(
            f"textDocument/{method}", textDocument={"uri": self._uri}, position=position
        )

    def _ask(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._send(id=number, method=method, params=params)
        while True:
            message = self._read()
            if "method" in message and "id" in message:
                items = message["params"].get("items", ())
                settings = [
                    {"pythonPath": sys.executable} if item["section"] == "python" else None
                    for item in items
                ]
                self._send(id=message["id"], result=settings or None)
            elif message.get("id") == number:
                return message["result"]

    def _send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        stdin.flush()

    def _read(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        length = 0
        while (header := stdout.readline().strip().lower()) != b"":
            if header.startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        message: dict[str, Any] = json.loads(stdout.read(length))
        return message


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    folder = tmp_path_factory.mktemp("editor")
    (folder / "sdxl.py").write_text(MODULE, encoding="utf-8")
    command = [PROGRAM, "--stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield LanguageServer(process, folder)
        finally:
            process.kill()


@pytest.mark.parametrize("name", CALLS)
def test_hover_shows_the_parameters_of_a_call_and_their_docstring(
    server: LanguageServer, name: str
) -> None:
    text: str = server.ask("hover", name[:-1], LINES[name][len(name) - 1 :])["contents"]["value"]
    signature, _, docstring = text.replace("\\", "").replace("&nbsp;", " ").partition("\n---\n")
    parameters = [*inspect.signature(CALLS[name]).parameters.values()]

    assert "**options" not in signature
    for parameter in parameters[parameters[:1] != [] and parameters[0].name == "self" :]:
        assert re.search(rf"\b{parameter.name}: ", signature)
        assert re.search(rf"^ +{parameter.name}: \S", docstring, re.MULTILINE)
    assert not re.search(r":\w+:`|^\.\. ", docstring, re.MULTILINE)
    assert ("Example" in docstring) <= ("Example:\n\n```\n" in docstring)


@pytest.mark.parametrize("name", CALLS)
def test_the_last_signature_of_a_call_has_the_defaults(server: LanguageServer, name: str) -> None:
    shown = server.ask("signatureHelp", f"{name}(", LINES[name][len(name) + 1 :])

    assert "= ..." not in shown["signatures"][-1]["label"]


@pytest.mark.parametrize(
    ("line", "type", "says"),
    [
        ("deadline: Deadline", "int | str | timedelta | None", "When the API cancels a run"),
        ("file: FileInput", "str | bytes | ", "A `str` is a URL or a data URL, never a path"),
        ("input: Input", "Mapping[str, object] | Struct | ", "by the names that its schema has"),
        ("wait: Wait", "int | bool | None", "1 to 60 seconds, or True for 60"),
    ],
)
def test_hover_shows_what_a_short_name_of_a_type_stands_for(
    server: LanguageServer, line: str, type: str, says: str
) -> None:
    text: str = server.ask("hover", line[:-1], line[-1:] + "\n")["contents"]["value"]

    assert f"(type) {line.partition(': ')[2]} = {type}" in text
    assert says in text


def test_a_status_is_completed(server: LanguageServer) -> None:
    items = server.ask("completion", 'prediction.status == "', '"\n')["items"]

    assert {'"succeeded"', '"failed"'} <= {item["label"] for item in items}


def test_a_prediction_is_completed(server: LanguageServer) -> None:
    labels = {item["label"] for item in server.ask("completion", "prediction.", "\n")["items"]}

    assert {"status", "output", "logs", "done", "progress"} <= labels


def test_the_input_of_a_generated_module_is_completed(server: LanguageServer) -> None:
    line = "images = await client.run(sdxl.MODEL, sdxl.Input("
    shown = server.ask("signatureHelp", line, 'prompt="A fox"')
    before = line + 'prompt="A fox", scheduler="'
    choices = server.ask("completion", before, '"))\n')["items"]

    assert shown["signatures"][0]["label"] == (
        "(*, prompt: str, width: int = 1024, "
        "scheduler: Literal['DDIM', 'K_EULER'] = \"K_EULER\", seed: int | None = None) -> Input"
    )
    assert {item["label"] for item in choices} >= {'"DDIM"', '"K_EULER"'}


def test_the_output_of_a_generated_module_is_completed(server: LanguageServer) -> None:
    items = server.ask("completion", "images[0].", "\n")["items"]

    assert {"read", "save", "url"} <= {item["label"] for item in items}


def test_the_model_of_a_generated_module_shows_its_types(server: LanguageServer) -> None:
    line = "images = await client.run(sdxl.MODEL"
    shown = server.ask("hover", line[:-2], line[-2:])["contents"]["value"]

    assert "MODEL: TypedModel[Input, Output]" in shown
