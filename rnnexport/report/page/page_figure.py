"""A plot as it stands in the page: SVG in the page's colours, its legend in words, and its caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rnnexport.report.figure_style import COLOURS, MARKERS, line_style, number_plainly
from rnnexport.report.page.inline_svg import INK, PAGE_STYLE, SIZE, inline_svg

_GLYPHS = dict(zip(MARKERS, "●■◆▲▼✚✖★◀", strict=True))


@dataclass(frozen=True)
class LegendEntry:
    """What one colour and mark stand for."""

    number: int
    """Of the colour."""
    glyph: str
    text: str


@dataclass(frozen=True)
class PageFigure:
    """A plot as it stands in the page."""

    svg: Markup
    legend: Sequence[LegendEntry]
    caption: str
    """What it shows, and what follows from it."""


def page_figure(
    prefix: str, draw: Callable[[Any], None], names: Sequence[str], alt: str, caption: str, height: float = 1.0
) -> PageFigure:
    """Draw a plot with a legend of `names`, in the order of the colours; `height` is a multiple of the usual one."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(SIZE[0], SIZE[1] * height), layout="constrained")
        draw(figure)
        svg = inline_svg(figure, prefix, alt)
    legend = [LegendEntry(n % len(COLOURS), _GLYPHS[MARKERS[n % len(MARKERS)]], name) for n, name in enumerate(names)]
    return PageFigure(svg, legend, caption)


def pairs_figure(
    prefix: str, pairs_ns: Sequence[tuple[float, float]], label: str, names: Sequence[str], alt: str, caption: str
) -> PageFigure:
    """Draw a bar for each pair of times, from a tick to a mark."""

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for number, (tick, mark) in enumerate(pairs_ns):
            colour, marker = (line_style(number)[key] for key in ("color", "marker"))
            axis.plot([tick / 1e6, mark / 1e6], [number, number], color=colour, linewidth=2)
            axis.plot(tick / 1e6, number, color=INK, marker="|", markersize=14, markeredgewidth=2)
            axis.plot(mark / 1e6, number, color=colour, marker=marker, markersize=7)
        axis.set(xscale="log", xlabel=label, yticks=[])
        axis.set_ylim(len(pairs_ns) - 0.5, -0.5)
        number_plainly(axis.xaxis)

    return page_figure(prefix, draw, names, alt, caption, 0.5 + 0.12 * len(pairs_ns))


def listed(names: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
