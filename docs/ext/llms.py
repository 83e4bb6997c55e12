"""Writes llms.txt (a list of the pages), the pages' Markdown, and llms-full.txt (all of it).

They are for language models, which read Markdown better than HTML: https://llmstxt.org.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ORDER = ["index", "tutorial", "howto", "errors", "reference", "architecture", "why"]


def _pages(source: Path) -> list[Path]:
    pages = [page for page in source.rglob("*.md") if "_build" not in page.parts]
    return sorted(
        pages,
        key=lambda page: (ORDER.index(page.relative_to(source).parts[0].removesuffix(".md")), page),
    )


def _write(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    source, out = Path(app.srcdir), Path(app.outdir)
    index, full = ["# replicate-async\n", f"> {_first_paragraph(source / 'index.md')}\n"], []
    for page in _pages(source):
        text = reference.render(page.read_text())
        text = re.sub(r"```\{toctree\}.*?```\n?", "", text, flags=re.DOTALL).strip()
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        link = page.relative_to(source).as_posix()
        (out / link).write_text(f"{text}\n")
        index.append(f"- [{title[1] if title else link}]({link}): {_first_paragraph(page)}")
        full.append(text)
    (out / "llms.txt").write_text(
        "\n".join([*index, "", "All of it in one file: llms-full.txt", ""])
    )
    (out / "llms-full.txt").write_text("\n\n---\n\n".join(full) + "\n")


def _first_paragraph(page: Path) -> str:
    """Return the paragraph after the title, in one line."""
    paragraphs = page.read_text().split("\n\n")
    return " ".join(paragraphs[1].split())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
