from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.files.names import (
    FALLBACK,
    name_in_disposition,
    name_in_url,
    numbered,
    safe_name,
    split,
    with_suffix,
)
from tests.files.hostile import NAMES

PORTS = {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789\u00b9\u00b2\u00b3"}
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"} | PORTS


def assert_plain(name: str) -> None:
    assert name
    assert len(name.encode()) <= 200
    assert not set(name) & set('<>:"/\\|?*')
    assert name[0] not in " .-~"
    assert name[-1] not in " ."
    assert name.partition(".")[0].rstrip().casefold() not in DEVICES
    assert not [char for char in name if unicodedata.category(char)[0] in "CZ" and char != " "]


def test_there_are_at_least_sixty_hostile_names() -> None:
    assert len(set(NAMES)) >= 60


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_becomes_a_plain_one(name: str) -> None:
    assert_plain(safe_name(name))
    assert_plain(safe_name(name_in_url(f"https://a.example/{quote(name, errors='replace')}")))
    assert_plain(safe_name(name_in_url(f"https://a.example/{name}")))


@given(st.text(max_size=300))
def test_safe_names_are_stable(text: str) -> None:
    name = safe_name(text)

    assert_plain(name)
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("out-0.png", "out-0.png"),
        ("Übung 1.webp", "Übung 1.webp"),
        ("日本語.mp4", "日本語.mp4"),
        ("../x", "x"),
        ("C:\\temp\\x.png", "x.png"),
        ("C:x", "C_x"),
        ("con.txt", "_con.txt"),
        (".bashrc", "bashrc"),
        ("-rf", "_rf"),
        ("", FALLBACK),
        ("..", FALLBACK),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
    ],
)
def test_harmless_characters_are_kept(raw: str, name: str) -> None:
    assert safe_name(raw) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment", ""),
        ("", ""),
        ("attachment; filename=plain.png", "plain.png"),
        ('attachment; filename="with space.png"', "with space.png"),
        ('attachment; filename="semi;colon.png"; size=3', "semi;colon.png"),
        (r'attachment; filename="a\"b.png"', 'a"b.png'),
        ("attachment; filename=a.png; filename*=UTF-8''%E2%82%AC.png", "€.png"),
        ("attachment; filename*=UTF-8'en'%c3%bc.png; filename=a.png", "ü.png"),
        ("attachment; filename*=iso-8859-1''%fc.png", "ü.png"),
        ("attachment; filename*=UTF-8''%ff; filename=a.png", "a.png"),
        ("attachment; filename*=KOI8-R''%c1; filename=a.png", "a.png"),
        ("attachment; filename*=nothing; filename=a.png", "a.png"),
        ("attachment; FILENAME=A.png", "A.png"),
        ("attachment; filename=first.png; filename=second.png", "first.png"),
        ("attachment; filename=\udcfc.png", "ü.png"),
        ("attachment; filename=\ud800.png", "\ud800.png"),
        ("filename=alone.png", ""),
    ],
)
def test_the_name_in_content_disposition_is_used(header: str, name: str) -> None:
    assert name_in_disposition(header) == name


@given(st.text())
def test_any_content_disposition_is_parsed(header: str) -> None:
    assert_plain(safe_name(name_in_disposition(header)))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.example/x/out-0.png", "out-0.png"),
        ("https://a.example/x/out-0.png?a=/b#c/d", "out-0.png"),
        ("https://a.example/x/%C3%BC.png", "ü.png"),
        ("https://a.example/x/", "x"),
        ("https://a.example", ""),
        ("https://a.example?x=/y", ""),
    ],
)
def test_the_name_in_the_url_is_used(url: str, name: str) -> None:
    assert name_in_url(url) == name


def test_a_taken_name_gets_a_number_before_its_extension() -> None:
    assert numbered("a.webp", 1) == "a.webp"
    assert numbered("a.webp", 2) == "a (2).webp"
    assert numbered("a", 3) == "a (3)"
    assert len(numbered("x" * 196 + ".png", 12).encode()) <= 200


@pytest.mark.parametrize(
    ("name", "kind", "named"),
    [
        ("a", "image/webp", "a.webp"),
        ("a", "image/jpeg; charset=x", "a.jpg"),
        ("a", "application/octet-stream", "a"),
        ("a", "unknown/type", "a"),
        ("a", None, "a"),
        ("a.b", "image/png", "a.b"),
        ("a", "application/zip", "a.zip"),
    ],
)
def test_a_name_without_an_extension_gets_the_one_of_its_type(
    name: str, kind: str | None, named: str
) -> None:
    assert with_suffix(name, kind) == named


def test_only_short_alphanumeric_suffixes_are_extensions() -> None:
    assert split("a.b.png") == ("a.b", ".png")
    assert split(".png") == (".png", "")
    assert split("a. b") == ("a. b", "")
    assert split("a." + "b" * 20) == ("a." + "b" * 20, "")
