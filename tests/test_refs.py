"""Names of models and versions, in one table."""

from __future__ import annotations

from typing import Any, Final

import pytest

from replicate_async import InvalidArgumentError
from replicate_async.refs import (
    ModelRef,
    VersionRef,
    check_name,
    parse_model,
    parse_version,
    parse_version_id,
)

ID: Final = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
OTHER: Final = "dp-a557b3e0b6f4bbbf2ff7b1ffa0a6f4d0"

GOOD: Final[dict[str, VersionRef]] = {
    ID: VersionRef(None, ID),
    "meta/llama": VersionRef(ModelRef("meta", "llama"), None),
    f"meta/llama:{ID}": VersionRef(ModelRef("meta", "llama"), ID),
    f"meta/llama:{OTHER}": VersionRef(ModelRef("meta", "llama"), OTHER),
    "black-forest-labs/flux-1.1-pro": VersionRef(
        ModelRef("black-forest-labs", "flux-1.1-pro"), None
    ),
    "a/b": VersionRef(ModelRef("a", "b"), None),
    "0/1": VersionRef(ModelRef("0", "1"), None),
    "a_b/c_d": VersionRef(ModelRef("a_b", "c_d"), None),
    "a/b.c-d_e": VersionRef(ModelRef("a", "b.c-d_e"), None),
    "a/b-": VersionRef(ModelRef("a", "b-"), None),
    "a/b_": VersionRef(ModelRef("a", "b_"), None),
    "a/b..c": VersionRef(ModelRef("a", "b..c"), None),
    "a/b:abc": VersionRef(ModelRef("a", "b"), "abc"),
}

BAD: Final[dict[str, str]] = {
    "": "is empty",
    "a": "is neither",
    "hidden": "is neither",
    ID[:-1]: "(it has 63)",
    ID + "0": "(it has 65)",
    ID.upper(): "is neither",
    f":{ID}": "is neither",
    "a:b/c": "is neither",
    "/": "has no owner",
    "/b": "has no owner",
    "a/": "has no name",
    f"a/:{ID}": "has no name",
    "a//b": "has more than one slash",
    "a/b/c": "has more than one slash",
    "a/b/": "has more than one slash",
    "https://replicate.com/a/b": "is neither",
    "a/b:": "has no version after the colon",
    "a/b::": "has a malformed version id",
    f"a/b:{ID}:": "has a malformed version id",
    f"a/b:{ID[:-1]}": "has a version id of 63 characters",
    f"a/b:{ID.upper()}": "has a version id of 64 characters",
    f"a/b:{ID}\n": "has a malformed version id",
    "a/b:..": "has a malformed version id",
    "a/b:c/d": "has a malformed version id",
    "a/b@latest": "has the name 'b@latest'",
    "A/b": "has an upper-case owner; write 'a/b'",
    "a/B": "has an upper-case name; write 'a/b'",
    "./b": "has the owner '.'",
    "a/..": "has the name '..'",
    "a/b.": "has the name 'b.'",
    "-a/b": "has the owner '-a'",
    "a /b": "has the owner 'a '",
    " a/b": "has the owner ' a'",
    "a/b\n": "has the name 'b\\n'",
    "a/\uff42": "has the name '\uff42'",
    "a/\u0663": "has the name '\u0663'",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_reference_is_parsed_and_printed_again(text: str) -> None:
    parsed = parse_version(text)

    assert parsed == GOOD[text]
    assert str(parsed) == text


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_reference_says_why(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_version(text, "ref")

    said = str(caught.value)
    assert said.startswith("ref=")
    assert BAD[text] in said
    assert said.endswith(".")


@pytest.mark.parametrize("text", [ref for ref, parsed in GOOD.items() if parsed.version is None])
def test_a_model_is_a_reference_without_a_version(text: str) -> None:
    assert parse_model(text) == GOOD[text].model


@pytest.mark.parametrize("text", [ref for ref, parsed in GOOD.items() if parsed.version])
def test_a_model_has_no_version(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r'model=.* must be "owner/name"'):
        parse_model(text)


def test_paths_are_named_after_what_is_in_them() -> None:
    ref = parse_model("acme/echo")

    assert ref.path("model") == {"model_owner": "acme", "model_name": "echo"}
    assert ref.path("deployment") == {"deployment_owner": "acme", "deployment_name": "echo"}


@pytest.mark.parametrize("version", [ID, OTHER, "abc", "d-1.2"])
def test_a_version_may_have_an_id_of_another_kind(version: str) -> None:
    assert parse_version_id(version) == version


@pytest.mark.parametrize("version", ["", "..", ".a", "a/b", "a b", "A", ID[:40], ID + "00"])
def test_a_malformed_version_id_is_refused(version: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^version_id="):
        parse_version_id(version)


@pytest.mark.parametrize("version", ["", None, 5, b"abc"])
def test_a_version_id_that_is_missing_is_told_from_one_that_is_malformed(version: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_version_id(version)

    said = f"version_id={version!r} must be a version id, 64 hexadecimal characters"
    assert str(caught.value).startswith(said)


def test_a_name_alone_is_checked_too() -> None:
    check_name("name", "my-deployment")
    for name in ("", "a/b", "A", "..", "a b", "a\n"):
        with pytest.raises(InvalidArgumentError, match=r"^name="):
            check_name("name", name)


def test_a_long_reference_is_shown_in_part() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_version("x" * 10_000)

    assert len(str(caught.value)) < 250
