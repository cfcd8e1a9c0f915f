"""A figure of Matplotlib as SVG inside a page, in the page's colours: they follow light and dark.

Colours become variables of CSS. Names that a figure uses inside get a prefix, since a page has several figures.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from rnnexport.report.figure_style import COLOURS, STYLE

INK, GRID = "#111111", "#dddddd"
PAGE_STYLE = {
    **STYLE,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK),
    "font.size": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.color": GRID,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
}
"""Of figures that are as wide as a phone; text keeps that size on it."""
SIZE = (4.6, 3.1)
_VARIABLES = {
    **{colour.lower(): f"var(--series-{number})" for number, colour in enumerate(COLOURS)},
    **dict.fromkeys(("#111111", "#555555", "#666666", "#777777"), "var(--ink)"),
    GRID: "var(--line)",
}
_UNIT_INK = re.compile(r"#[0-9a-fA-F]{6}\b")
_NAME = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Any, prefix: str, alt: str) -> Markup:
    """Return a figure as an `svg` element with a text for those who cannot see it; `prefix` is unique in the page."""
    drawn = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that the font lacks: the reader's has them
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(drawn.getvalue())
    used = {name for element in root.iter() for value in element.attrib.values() for name in _names(value)}
    for parent in list(root.iter()):
        for child in [each for each in parent if _local(each.tag) in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = dict(_attributes(element.attrib, prefix, used))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alt}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attributes(given: dict[str, str], prefix: str, used: set[str]) -> Any:
    for key, value in given.items():
        name = _local(key)
        if name == "id":
            if value in used:
                yield name, f"{prefix}-{value}"
        elif name == "href":
            yield name, f"#{prefix}-{value[1:]}"
        else:
            value = _NAME.sub(rf"url(#{prefix}-\1)", value)
            yield name, _UNIT_INK.sub(lambda found: _VARIABLES.get(found[0].lower(), "var(--ink)"), value)


def _names(value: str) -> list[str]:
    return [*_NAME.findall(value), *([value[1:]] if value.startswith("#") else [])]


def _local(name: str) -> str:
    return name.rpartition("}")[2]
