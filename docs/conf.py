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

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "reference", "llms"]
exclude_patterns = ["_build", "examples", "ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

smartquotes = False  # "--local" is an option, and no dash
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
default_role = "py:obj"  # `Name` in a docstring links to it
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "inherited-members": "object, Struct, BaseException, tuple, Protocol, Mapping, Response",
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# The packages of extras that are services or heavy, so that a build needs none of them.
autodoc_mock_imports = ["cloudpickle", "dask", "distributed", "redis"]
# Names of other packages: their inventories are not at hand.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["narrow.css", "tables.css"]
html_title = f"replicate-async {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
