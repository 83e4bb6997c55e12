"""The built pages of the docs in Chromium, on a wide and on a narrow window: nothing is cut off."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Page

from tests.browser.chromium import chromium, picture

pytestmark = pytest.mark.anyio

DOCS: Final = Path(os.environ.get("DOCS", "docs/_build/html")).absolute()
"""What `nox -s docs` builds."""
PAGES: Final = (
    "index",
    "tutorial",
    "howto/batch",
    "howto/streaming",
    "howto/timeouts",
    "reference/predictions",
    "reference/running",
    "architecture",
)

# What a reader cannot see: an element past the edge of the window, unless it is in a box that fits
# and scrolls, or text past the edge of a box that hides it. The closed drawers are off the window.
CUT: Final = """
() => {
  const width = document.documentElement.clientWidth;
  const fits = (box) => box.left >= -1 && box.right <= width + 1;
  const scrolls = (node) => {
    for (let up = node; up && up.tagName !== 'ARTICLE'; up = up.parentElement) {
      const flow = getComputedStyle(up).overflowX;
      if ((flow === 'auto' || flow === 'scroll') && fits(up.getBoundingClientRect())) return true;
    }
    return false;
  };
  const found = [];
  for (const node of document.querySelectorAll('article *, .mobile-header *')) {
    const box = node.getBoundingClientRect(), style = getComputedStyle(node);
    if (box.width < 2 || box.height < 2 || style.visibility === 'hidden') continue;
    const hides = ['hidden', 'clip'].includes(style.overflowX);
    if ((!fits(box) && !scrolls(node)) || (hides && node.scrollWidth > node.clientWidth + 1))
      found.push(`${node.tagName} ${box.left} ${box.right}: ${node.textContent.slice(0, 60)}`);
  }
  return found;
}
"""


@pytest.fixture(params=[1280, 390])
async def page(request: pytest.FixtureRequest) -> AsyncGenerator[Page, None]:
    async with chromium() as browser:
        yield await browser.new_page(viewport={"width": request.param, "height": 900})


async def test_no_page_of_the_docs_is_cut_off(page: Page) -> None:
    window = await page.evaluate("window.innerWidth")

    for name in PAGES:
        await page.goto((DOCS / f"{name}.html").as_uri())
        await picture(page, f"{name.replace('/', '-')}-{window}")

        assert await page.evaluate(CUT) == [], name
        assert await page.evaluate("document.documentElement.scrollWidth") == window, name


@pytest.mark.parametrize("name", ["howto/timeouts", "errors"])
async def test_names_in_a_table_of_many_columns_stay_whole(page: Page, name: str) -> None:
    await page.goto((DOCS / f"{name}.html").as_uri())

    names = page.locator("table").first.locator("td:first-child code .pre")
    lines = await names.evaluate_all("all => all.map((name) => name.getClientRects().length)")
    assert lines
    assert set(lines) == {1}
