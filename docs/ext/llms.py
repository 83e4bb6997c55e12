"""Writes llms.txt (a list of the pages), the pages' Markdown, llms-full.txt and SKILL.md.

They are for language models, which read Markdown better than HTML: https://llmstxt.org.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.writers.text import TextTranslator

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ORDER = [
    *("index", "tutorial", "coming-from", "howto", "cookbook"),
    *("errors", "reference", "architecture", "why"),
]
INCLUDE = re.compile(r"```\{literalinclude\} (\S+)\n```")


def _pages(source: Path) -> list[Path]:
    def order(page: Path) -> tuple[int, bool, Path]:
        first = page.relative_to(source).parts[0].removesuffix(".md")
        return ORDER.index(first), page.stem != "index", page

    return sorted((p for p in source.rglob("*.md") if "_build" not in p.parts), key=order)


def _write(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    source, out = Path(app.srcdir), Path(app.outdir)
    index, full = ["# replicate-async\n", f"> {_first_paragraph(source / 'index.md')}\n"], []
    for page in _pages(source):
        link = page.relative_to(source).as_posix()
        text = _text(app, page, link.removesuffix(".md"))
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        (out / link).write_text(f"{text}\n")
        index.append(f"- [{title[1] if title else link}]({link}): {_first_paragraph(page)}")
        full.append(text)
    (out / "llms.txt").write_text(
        "\n".join([*index, "", "All of it: llms-full.txt. The calls that matter: SKILL.md", ""])
    )
    (out / "llms-full.txt").write_text("\n\n---\n\n".join(full) + "\n")
    (out / "SKILL.md").write_text((source.parent / "SKILL.md").read_text())


def _text(app: Sphinx, page: Path, docname: str) -> str:
    """Return the page without its contents list; one that is made from the code, as text."""
    text = page.read_text()
    if "```{eval-rst}" not in text and "<!-- commands -->" not in text:
        text = re.sub(r"```\{toctree\}.*?```\n*", "", text, flags=re.DOTALL).strip()
        return INCLUDE.sub(lambda found: _program(page.parent / found[1]), text)
    translator = TextTranslator(app.env.get_and_resolve_doctree(docname, app.builder), app.builder)
    translator.document.walkabout(translator)
    title, _, _ = text.partition("\n")
    _, _, body = translator.body.partition("*\n")  # its own title is underlined with asterisks
    return f"{title}\n{body}".strip()


def _program(path: Path) -> str:
    return f"```python\n{path.read_text()}```"


def _first_paragraph(page: Path) -> str:
    """Return the paragraph after the title, in one line."""
    paragraphs = page.read_text().split("\n\n")
    return " ".join(paragraphs[1].split())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
