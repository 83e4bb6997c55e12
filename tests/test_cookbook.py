"""The programs of the cookbook run, print what they should, and stay short."""

from __future__ import annotations

import ast
import io
import re
import runpy
import sys
import wave
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PROGRAMS = sorted((DOCS / "examples" / "cookbook").glob("*.py"))
PAGES = sorted(page for page in (DOCS / "cookbook").glob("*.md") if page.stem != "index")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


class Run:
    """Runs a program in this process, as ``python NAME.py`` does; returns the lines it prints."""

    def __init__(self, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._output = output

    def __call__(self, name: str, *arguments: str, typed: str = "") -> list[str]:
        program = DOCS / "examples" / "cookbook" / f"{name}.py"
        self._patch.setattr(sys, "argv", [str(program), *arguments])
        self._patch.setattr(sys, "stdin", io.StringIO(typed))
        runpy.run_path(str(program), run_name="__main__")
        return self._output.readouterr().out.splitlines()


def test_a_chat_sends_what_was_said_before(run: Run) -> None:
    assert run("chat") == [
        "User: Who am I? ",
        "Assistant: I do not know.",
        "User: My name is Ada. ",
        "Assistant: You are Ada.",
        "User: Who am I? ",
        "Assistant: You are Ada.",
    ]


def test_a_gallery_shows_every_picture(run: Run, folder: Path) -> None:
    assert run("gallery") == ["Open gallery/index.html"]

    page = (folder / "gallery" / "index.html").read_text()
    pictures = sorted((folder / "gallery").glob("*/*.svg"))
    assert len(pictures) == 6
    assert all(f'"{picture.parent.name}/{picture.name}"' in page for picture in pictures)
    assert "<h2>a blue whale</h2>" in page


def test_a_recording_is_transcribed_in_order(run: Run, folder: Path) -> None:
    with wave.open(str(folder / "talk.wav"), "wb") as recording:
        recording.setparams((1, 1, 100, 0, "NONE", ""))
        recording.writeframes(bytes(15_000))

    parts = run("transcribe", "talk.wav")

    assert parts == [f"{44 + size} bytes of speech." for size in (6_000, 6_000, 3_000)]


def test_a_trained_version_is_used(run: Run, folder: Path) -> None:
    (folder / "images.zip").write_bytes(bytes(100))

    assert run("finetune", "images.zip") == ["The training succeeded ", "Saved fox.webp"]
    assert (folder / "fox.webp").read_bytes() == b"FOX at sea (FOX: 100 bytes)"


def test_a_search_sorts_texts_by_likeness(run: Run) -> None:
    lines = run("search")

    assert [line.partition(" ")[2] for line in lines] == [
        "Foxes hunt mice at night.",
        "Whales sing in the sea.",
        "Frogs are green.",
    ]
    assert sorted(lines, reverse=True) == lines


def test_a_second_run_captions_new_pictures_alone(run: Run, folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(bytes(1))
    (folder / "pictures" / "notes.txt").write_bytes(bytes(9))
    first = run("captions", "pictures")
    (folder / "pictures" / "b.jpg").write_bytes(bytes(2))
    second = run("captions", "pictures")

    assert first == ["new: a.png a picture of 1 bytes"]
    assert sorted(second) == [
        "known: a.png a picture of 1 bytes",
        "new: b.jpg a picture of 2 bytes",
    ]
    assert (folder / "captions.csv").read_text().splitlines() == [
        "file,caption",
        "a.png,a picture of 1 bytes",
        "b.jpg,a picture of 2 bytes",
    ]


def test_a_refused_prompt_makes_no_picture(run: Run, folder: Path) -> None:
    accepted, refused = run("moderate")

    assert Path(accepted.removeprefix("a red fox: ")) == Path("pictures", "out.webp")
    assert refused == "a fox with blood on its teeth: refused"
    assert [path.read_bytes() for path in (folder / "pictures").iterdir()] == [b"a red fox"]


def test_a_bot_answers_until_an_empty_line(run: Run) -> None:
    assert run("bot", typed="hello\nagain\n\nunread\n") == ["You said: hello", "You said: again"]


def test_a_batch_spends_its_budget_once(run: Run, folder: Path) -> None:
    first, second, third = run("budget", "0.01"), run("budget", "0.01"), run("budget", "0.015")

    assert [line.partition(" ")[0] for line in first] == ["new:"] * 3 + ["spent"]
    assert [line.partition(" ")[0] for line in second] == ["known:"] * 3 + ["spent"]
    assert sorted(line.partition(" ")[0] for line in third) == (
        ["known:"] * 3 + ["new:"] * 2 + ["spent"]
    )
    assert [lines[-1] for lines in (first, second, third)] == [
        f"spent 0.00{thousandths} dollars" for thousandths in (9, 0, 6)
    ]
    assert {path.stem for path in (folder / "pictures").iterdir()} == {
        *("monet", "klimt", "kahlo", "hokusai", "vermeer")
    }


def test_webhooks_fill_a_queue(run: Run) -> None:
    assert sorted(run("webhook_queue")) == ["hello Ada", "hello Grace", "hello Hedy"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_is_shorter_than_40_lines(program: Path) -> None:
    assert len(program.read_text().splitlines()) < 40


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_line_for_a_token_takes_the_place_of_the_embedded_server(program: Path) -> None:
    lines = [line for line in program.read_text().splitlines() if "leave this line out" not in line]
    source = re.sub(
        r"async with \(  # with a token: (async with .+)\n(?: {8}.+\n)+    \):$",
        r"\1",
        "\n".join(lines),
        flags=re.MULTILINE,
    )

    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    assert "client" in used
    assert used.isdisjoint({"server", "LocalReplicate"})


def test_each_program_has_a_page_that_shows_it() -> None:
    shown = {page.stem: page.read_text() for page in PAGES}

    assert {path.stem for path in PROGRAMS} == set(shown)
    for path in PROGRAMS:
        assert f"```{{literalinclude}} ../examples/cookbook/{path.name}\n" in shown[path.stem]
