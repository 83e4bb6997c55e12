"""Check words and sizes of the project: `python -m tests.style`.

`WORDS` has the words that are out, each with what to write instead. `BUDGETS` has the lines of code
of each part of the package; a commit that raises one says why.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "replicate_async"
NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}

WORDS: Final = {
    r"nobody": 'name the thing: "no waiter", "no task"',
    r"(?:who|what|whoso|whatso)ever": 'name the thing: "the caller", "any value"',
    r"(?:some|every|any)body": 'name the thing: "a waiter", "each reader", "any caller"',
    r"anew": '"again", or "a new one"',
    r"heed(?:s|ed|ing)?": '"read", "apply"',
    r"befit(?:s|ted|ting)?": '"suit"',
    r"(?:there|here)(?:of|in|by|upon)": "name the thing",
    r"lest": '"so that ... not"',
    r"as ever": '"as before"',
    r"for good": '"for the last time", "permanently"',
    r"dice": '"jitter"',
    r"those who": "name the thing",
    r"who waits": '"the waiter"',
    r"what runs the": "name the thing",
    r"takes? note of": '"record"',
    r"(?:is|are) let": '"may"',
    r"sees? to (?:it|that)": '"make sure"',
}
"""What is not written, as a regular expression of whole words, and what is written instead."""

NAMES: Final = (
    "Board", "Ticket", "Watched", "Desk", "Cover", "Wheel", "Glance", "Waiter", "Waits",
    "Conductor", "Engine", "Intake", "Outbox", "Halt", "Ledger", "Tally", "Outage", "Namer",
    "Patience", "Alarm", "Silence", "Exchange", "Turnstile", "Pacer", "Draft", "Slot", "Once",
    "Delivered", "Follower", "Arrivals", "Creation", "SentInput", "Listing",
)  # fmt: skip
"""Classes of an earlier dialect; a class of the package has the standard name of its thing."""

DOORS: Final = ("integrations",)
"""Parts of the package whose words are not checked yet."""

PROSE: Final = PACKAGE / "local" / "builtins" / "tales.py"
"""A text that a model learns from, and no description of code."""

BUDGETS: Final = {
    "bound.py": 179,
    "cli": 2664,
    "client.py": 183,
    "context.py": 162,
    "core": 2441,
    "errors.py": 220,
    "files": 2489,
    "interface": 2167,
    "local": 5702,
    "resources": 2440,
    "runs": 5158,
    "transport": 1386,
    "typed.py": 168,
}
"""The most lines of code in each part, without blank lines, comments and docstrings."""


class Finding(NamedTuple):
    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.text}"


def words_in(path: Path) -> Iterator[Finding]:
    """Find the words that are out in a file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for pattern, instead in WORDS.items():
            if found := re.search(rf"\b(?:{pattern})\b", line, re.IGNORECASE):
                yield Finding(path, number, f'"{found[0]}"; write {instead}')


def old_names_in(path: Path) -> Iterator[Finding]:
    """Find classes with a name of the earlier dialect."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = re.match(r"\s*class (\w+)", line)
        if found and found[1] in NAMES:
            yield Finding(path, number, f"class {found[1]}; see docs/architecture.md for names")


def code_lines(source: str) -> int:
    """Count the lines of *source* that are neither blank nor a comment nor a docstring."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        if isinstance(node.value.value, str)
    }
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstrings)


def sizes() -> Iterator[str]:
    """Find parts of the package that are larger than their budget."""
    for part, most in BUDGETS.items():
        place = PACKAGE / part
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        lines = sum(code_lines(file.read_text(encoding="utf-8")) for file in files)
        if lines > most:
            yield f"replicate_async/{part}: {lines} lines of code, the budget is {most}"


def client_side() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PROSE and path.relative_to(PACKAGE).parts[0] not in DOORS
    ]


def checked() -> list[Path]:
    """Return the files whose words are checked."""
    pages = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SKILL")]
    tests = [
        path
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__) and path.relative_to(ROOT / "tests").parts[0] not in DOORS
    ]
    return [*client_side(), *tests, *pages, *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> int:
    findings = [str(found) for path in checked() for found in words_in(path)]
    findings += [str(found) for path in client_side() for found in old_names_in(path)]
    findings += sizes()
    print("\n".join(findings) or "words and sizes: no findings")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
