"""Settings of the documentation site; `nox -s docs` builds it."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.write_reference import write_reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "rnnexport"
release = version_of("rnnexport")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "conformance/**"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # commands with a remark behind them
default_role = "code"
smartquotes = False  # they would make one dash of the two of an option
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
copybutton_prompt_text = "$ "

html_theme = "furo"
html_show_copyright = False
html_title = f"rnnexport {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]


def setup(app: Sphinx) -> None:
    """Write the pages that come from the code before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: write_reference(Path(app.srcdir) / "reference"))
