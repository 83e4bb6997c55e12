"""How the pages are built: `nox -s docs`."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "ext"))

project = "replicate-async"
author = "the replicate-async maintainers"
copyright = f"2026, {author}"
release = version = metadata.version("replicate-async")

extensions = ["myst_parser", "reference", "llms"]
exclude_patterns = ["_build", "examples", "ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"replicate-async {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
