from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from replicate_async import Prediction
from replicate_async.schemas import Training
from tests.support.replies import prediction


def shown(**fields: Any) -> str:
    made = prediction("https://api.replicate.com/v1") | fields
    return msgspec.convert(made, Prediction, strict=False)._repr_html_()  # pyright: ignore[reportPrivateUsage] - what a notebook calls


def test_a_notebook_shows_status_times_and_metrics() -> None:
    html = shown(
        started_at="2026-03-16T12:00:02.123456Z",
        completed_at="2026-03-16T12:00:05.623456Z",
        metrics={"predict_time": 3.5, "token_output_count": 12, "note": "<b>", "more": {}},
    )

    for part in ("succeeded", "2026-03-16 12:00:00 UTC", "2.0 s", "3.5 s", "12", "&lt;b&gt;"):
        assert f">{part}</td>" in html
    assert "<pre style=" in html
    assert "more" not in html


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;"),
        (["Once", " upon"], ">Once upon</pre>"),
        ("x" * 1000, f"{'x' * 600}…"),
        ("https://a.example/x?a=1&b=%22", '<a href="https://a.example/x?a=1&amp;b=%22"'),
        (['https://a.example/"onclick=x'], '<a href="https://a.example/&quot;onclick=x"'),
        (["https://a.example/x"] * 20, "…"),
        ("https: the secure one", "<pre"),
        ("javascript:alert(1)", "<pre"),
        ("https://user@a.example", '<a href="https://user@a.example"'),
        ({"a": [1, "<"]}, "{&quot;a&quot;:[1,&quot;&lt;&quot;]}"),
        ([1, 2], "[1,2]"),
        (0, ">0</pre>"),
    ],
)
def test_html_in_an_output_is_escaped(output: object, part: str) -> None:
    assert part in shown(output=output)


def test_absent_fields_are_not_shown() -> None:
    html = shown(output=None, model=None, created_at=None, started_at=None, metrics=None)

    assert "output" not in html
    assert "None" not in html
    assert "<th" in shown(error="it <broke>", status="failed")
    assert "it &lt;broke&gt;" in shown(error="it <broke>", status="failed")


@pytest.mark.parametrize(
    ("output", "tags"),
    [
        ("https://a.example/x.PNG?a=1&b=2", ["img", "a"]),
        ("https://a.example/x.mp3", ["audio", "a"]),
        (["https://a.example/x.webp", "https://a.example/y.mp4"], ["img", "a", "video", "a"]),
        ({"text": "<i>", "sound": "https://a.example/x.wav"}, ["pre", "audio", "a"]),
        ("data:image/png;base64,iVBORw0K", ["img"]),
        ("data:audio/wav;base64,UklGRg==", ["audio"]),
        (["https://a.example/x.png", "no file"], ["pre"]),
        ("https://a.example.png", ["a"]),
        ("https://a.example/x.pdf", ["a"]),
        ("http://a.example/x.png", ["pre"]),
        ("data:text/html;base64,PGI+", ["pre"]),
        ('data:image/png;base64,"onerror=x', ["pre"]),
        ("data:image/png;base64," + "A" * 8_000_000, ["pre"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_files_of_an_output_are_shown_by_their_kind(output: object, tags: list[str]) -> None:
    cell = shown(output=output).partition("output</th>")[2]

    assert re.findall(r"<(img|audio|video|a|pre|i|b)\b", cell) == tags
    assert len(cell) < 3_000


def test_a_picture_is_loaded_without_a_referrer() -> None:
    html = shown(output="https://a.example/x.png?a=1&b=2")

    assert '<img src="https://a.example/x.png?a=1&amp;b=2"' in html
    assert 'referrerpolicy="no-referrer"' in html


def test_an_embedded_server_shows_its_own_files_and_others_none_of_this_machine() -> None:
    local, other = "http://127.0.0.1:8080/", "http://127.0.0.1:80/"
    mine = {"urls": {"get": f"{local}v1/predictions/abc"}}

    assert f'<img src="{local}x.png"' in shown(output=f"{local}x.png", **mine)
    assert "<img" not in shown(output=f"{other}x.png", **mine)
    assert "<img" not in shown(output=f"{local}x.png")
    assert "<img" not in shown(output="http://a.example/x.png", urls={"get": "http://a.example/"})


def test_no_token_is_shown_in_full_or_in_part() -> None:
    html = shown(
        output=["https://a.example/x.png?token=r8_abcdefghijkl"],
        error="x" * 595 + " r8_abcdefghijkl",
        status="r8_abcdefghijkl",
    )

    assert "r8_" not in html
    assert "[hidden]" in html


def test_a_running_prediction_shows_its_progress() -> None:
    logs = "loading\n 40%|████      | 4/10 [00:01<00:01,  8.0it/s]\n"

    assert ">40% (4 of 10)</td>" in shown(status="processing", logs=logs, completed_at=None)
    assert "40%" not in shown(logs=logs, completed_at="2026-03-16T12:00:05Z")


def test_a_training_shows_its_version_and_weights() -> None:
    made = {
        "id": "t1",
        "status": "succeeded",
        "output": {"version": "a/<b>:1", "weights": "https://a.example/w.tar"},
    }
    html = msgspec.convert(made, Training)._repr_html_()  # pyright: ignore[reportPrivateUsage] - what a notebook calls

    assert "<div>version: <pre" in html
    assert "a/&lt;b&gt;:1" in html
    assert '<a href="https://a.example/w.tar"' in html
    assert "None" not in html
