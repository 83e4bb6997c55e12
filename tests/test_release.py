from __future__ import annotations

import re
from pathlib import Path

from replicate_async import __version__

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_changelog_and_the_citation_name_the_version_and_one_date() -> None:
    release = re.search(r"(?m)^## \[(\d[^]]*)\] - (\S+)$", read("CHANGELOG.md"))
    citation = dict(re.findall(r"(?m)^(version|date-released): (\S+)$", read("CITATION.cff")))
    assert release is not None
    assert release[1] == citation["version"] == __version__
    assert release[2] == citation["date-released"]


def test_contributing_names_every_session() -> None:
    sessions = re.findall(r"(?m)^def (\w+)\(session: nox", read("noxfile.py"))
    named = set(re.findall(r"`(?:nox -s )?(\w+)`", read("CONTRIBUTING.md")))
    # The text says of these three that plain `nox` runs them.
    assert set(sessions) - named <= {"lint", "types", "tests"}
    assert len(sessions) > 10
