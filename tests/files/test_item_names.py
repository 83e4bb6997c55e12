"""The names of a batch's files: every item has its own, on any file system."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.files.names import item_name, safe_name

SUFFIXES = ["", ".png", ".PNG", ".2"]
KEYS = st.one_of(
    st.text(max_size=8),
    st.text(string.ascii_letters + "0129./\\:-_ ", max_size=4),
    st.text(min_size=110, max_size=300),
)


def as_seen_by_a_file_system(name: str) -> str:
    """Return *name* with the differences taken away that some file systems do not see."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


@pytest.mark.parametrize("key", ["row 1", "3", "cat_07", "日本語", "a-2", "é", "0f" * 16])
def test_a_key_that_is_a_safe_name_is_unchanged(key: str) -> None:
    assert item_name(key, 1, ".png") == f"{key}.png"
    assert item_name(key, 2, ".png") == f"{key}.2.png"


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("cats/001", "cats_001-"),
        ("https://a.example/1", "https___a.example_1-"),
        ("a:b", "a_b-"),
        ("Cat", "Cat-"),
        ("item 1.", "item 1-"),
        ("x" * 300, "x" * 120 + "-"),
        ("..", "output-"),
    ],
)
def test_any_other_key_stays_readable_and_has_a_digest(key: str, stem: str) -> None:
    name = item_name(key, 1, ".png")

    assert name.startswith(stem)
    assert len(name) == len(stem) + 16 + len(".png")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cats/001", "dogs/001"),
        ("a:b", "a?b"),
        ("x" * 300 + "1", "x" * 300 + "2"),
        ("x" * 199, "x" * 198 + "y"),
        ("item 1.", "item 1"),
        ("é", "e\u0301"),
        ("Cat", "cat"),
        ("straße", "STRASSE"),
        ("\u0131d", "Id"),
        ("con", "_con"),
        ("\ud800", "\ud801"),
        ("a\u200b", "a"),
    ],
)
def test_keys_with_equal_safe_names_get_different_names(one: str, other: str) -> None:
    names = {as_seen_by_a_file_system(item_name(key, 1, ".png")) for key in (one, other)}

    assert len(names) == 2


def test_no_key_can_be_the_name_of_another_item() -> None:
    """Keys that look like names made of other keys: a number, a suffix, a digest."""
    seen: dict[str, str] = {}
    keys = ["cat", "cat.2", "cat.png", "cat.2.png", "a/b"]
    keys += [item_name(key, number, "") for key in keys for number in (1, 2)]
    for key in dict.fromkeys(keys):
        for number in (1, 2):
            for suffix in SUFFIXES:
                name = as_seen_by_a_file_system(item_name(key, number, suffix))
                assert seen.setdefault(name, key) == key


@given(st.lists(KEYS, min_size=2, max_size=2, unique=True), st.data())
def test_two_keys_never_have_one_name(keys: list[str], data: st.DataObject) -> None:
    names: set[str] = set()
    for key in keys:
        number, suffix = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(SUFFIXES))
        name = item_name(key, number, suffix)
        assert safe_name(name) == name
        names.add(as_seen_by_a_file_system(name))
    assert len(names) == 2
