"""The one style of all figures, and whether they can be drawn.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision can tell apart; each line has a
marker of its own, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.files.targets import check_new_file

COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442"]
MARKERS = "osD^vPX*<"  # one more than colours, so that pairs of both repeat late
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


def check_plotting(path: Path) -> None:
    """Refuse, before anything is measured, what could not be drawn afterwards.

    Raises:
        InputError: Matplotlib is missing, or the file's kind or folder is wrong.
    """
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"`plot={str(path)!r}`: choose a name that ends in .svg, .png or .pdf")
    check_new_file(path, "plot")
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError as exc:
        raise InputError("`plot` needs Matplotlib; run: pip install 'rnnexport[plot]'") from exc
