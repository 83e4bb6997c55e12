"""The hosts that a client connects to for an output file, and the headers that it sends there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trustme

ROOT: Final = Path(__file__).parents[2]


class Vector(msgspec.Struct, frozen=True):
    url: str
    route: str
    may_request: bool
    may_send_token: bool


class Vectors(msgspec.Struct, frozen=True):
    vectors: list[Vector]


VECTORS: Final = [
    vector
    for vector in msgspec.json.decode(
        (ROOT / "tests/data/urls.json").read_bytes(), type=Vectors
    ).vectors
    if vector.route == "output file"
]
PRIVATE: Final = [
    "inward",
    "loopback",
    "metadata",
    "mixed",
    "six",
    "mapped",
    "translated",
    "tunnel",
    "multicast",
    "isatap",
    "compatible",
    "stand-in",
]
TRUSTED: Final = {"stand-in.replicate.delivery": "198.18.0.7", "store.internal": "100.64.0.9"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return fetch(tmp_path_factory, "verified")


@pytest.fixture(scope="module")
def unverified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return fetch(tmp_path_factory, "unverified")


def fetch(tmp_path_factory: pytest.TempPathFactory, verify: str) -> dict[str, list[Any]]:
    """Fetch every URL in one run of the program."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert(
        "evil.example", "replicate.delivery", "api.replicate.com", *TRUSTED
    )
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    urls = [vector.url for vector in VECTORS]
    urls += [f"https://{name}.example/a" for name in PRIVATE]
    urls += [f"https://{name}/a" for name in TRUSTED]
    urls += ["https://api.replicate.com/out.png", "https://api.replicate.com/v1/files/abc"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.files.surfing", verify, str(folder / "server.pem"), *urls],
        env={**os.environ, "SSL_CERT_FILE": str(folder / "authority.pem")},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    found: dict[str, list[Any]] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.url)
def test_an_output_file_is_fetched_from_public_hosts_without_the_token(
    vector: Vector, outcomes: dict[str, list[Any]]
) -> None:
    said, asked, token, reached = outcomes[f"file {vector.url}"]

    assert said == ("" if vector.may_request else "UntrustedURLError")
    assert asked == len(reached) == int(vector.may_request)
    assert token == vector.may_send_token


@pytest.mark.parametrize("way", ["file", "stream"])
@pytest.mark.parametrize("name", PRIVATE)
def test_a_public_name_with_a_private_address_is_not_connected_to(
    name: str, way: str, outcomes: dict[str, list[Any]]
) -> None:
    assert outcomes[f"{way} https://{name}.example/a"] == ["UntrustedURLError", 0, False, []]


@pytest.mark.parametrize("name", TRUSTED)
def test_a_trusted_host_is_read_at_any_address(name: str, outcomes: dict[str, list[Any]]) -> None:
    expected = ["", 1, False, [TRUSTED[name]]]
    assert outcomes[f"file https://{name}/a"] == expected


@pytest.mark.parametrize("name", TRUSTED)
def test_no_host_is_trusted_while_certificates_are_not_verified(
    name: str, unverified: dict[str, list[Any]]
) -> None:
    assert unverified[f"file https://{name}/a"] == ["UntrustedURLError", 0, False, []]


def test_the_host_of_the_api_may_be_anywhere(outcomes: dict[str, list[Any]]) -> None:
    assert outcomes["file https://api.replicate.com/out.png"] == ["", 1, False, ["10.20.30.40"]]
    assert outcomes["file https://api.replicate.com/v1/files/abc"][:3] == ["", 1, True]
