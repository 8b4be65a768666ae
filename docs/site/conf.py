"""Sphinx's configuration; the sources are what :mod:`docs.site.staging` writes."""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from dsd_bench import __version__  # noqa: E402

project = "dsd-bench"
author = "the authors of dsd-bench"
html_show_copyright = False
release = version = __version__
html_title = "dsd-bench"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings: list[str] = []

autodoc_mock_imports = ["torch_pruning"]
"""What only shipped plugins need: mocked, so that the site is the same with and without it."""
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b63a5",
        "color-brand-content": "#0b63a5",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb6ff",
        "color-brand-content": "#6cb6ff",
    },
}
pygments_style = "friendly"
pygments_dark_style = "monokai"


def plain_bars(
    _app: object, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Let ``|g|`` in a docstring be an absolute value, not reStructuredText's substitution."""
    for place, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[place] = "".join(parts)


def setup(app: Any) -> None:
    """Register what Sphinx calls."""
    app.connect("autodoc-process-docstring", plain_bars)
