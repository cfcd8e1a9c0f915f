"""The one style of all figures, and whether they can be drawn.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision can tell apart; each line has a
marker of its own, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.files.destinations import check_new_file
from rnnexport.report.fitting import printable

COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"]
MARKERS = "osD^vPX*<"  # one more than colours, so that pairs of both repeat late
_LINES = ["-", "--", ":"]
_ROOM, _MUCH_ROOM = 300, 5
"""The most that the ends of an axis may be apart for 2 and 5, and for all numbers, between the powers of ten."""
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rnnexport",  # the same figure gives the same file
}


def line_style(number: int) -> dict[str, Any]:
    """Colour, dashes and marker of the line of that number."""
    colour = COLOURS[number % len(COLOURS)]
    dashes = _LINES[number // len(COLOURS) % len(_LINES)]
    return {"color": colour, "linestyle": dashes, "marker": MARKERS[number % len(MARKERS)]}


def as_label(text: str) -> str:
    """Have text from outside drawn as it is: no formula, no character that XML forbids."""
    return printable(text).replace("$", r"\$").lstrip("_")


def number_plainly(*axes: Any) -> None:
    """Write 0.1 and 1,000 in place of powers of ten on logarithmic axes; between them what there is room for."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axis.set_minor_formatter(lambda value, _, axis=axis: _between(value, *axis.get_view_interval()))


def _between(value: float, low: float, high: float) -> str:
    is_told = high < _MUCH_ROOM * low or (high < _ROOM * low and f"{value:e}"[0] in "25")
    return f"{value:,.10g}" if is_told else ""


def check_plotting(path: Path) -> None:
    """Refuse, before anything is measured, what could not be drawn afterwards.

    Raises:
        InputError: Matplotlib is missing, or the file's kind or folder is wrong.
    """
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"`plot={str(path)!r}`: choose a name that ends in .svg, .png or .pdf")
    check_new_file(path, "plot")
    check_matplotlib("`plot`")


def check_matplotlib(what: str) -> None:
    """Refuse `what` where it cannot be drawn.

    Raises:
        InputError: Matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError as exc:
        raise InputError(f"{what} needs Matplotlib; run: pip install 'rnnexport[plot]'") from exc
