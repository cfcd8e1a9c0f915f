"""The page's colours can be read in light and in dark: WCAG 2.2, success criteria 1.4.3 and 1.4.11."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from rnnexport.report.figure_style import COLOURS

STYLE = (files("rnnexport.report.page") / "templates/style.css").read_text(encoding="utf-8")
ROOTS = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
LIGHT, DARK, PRINT = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", root)) for root in ROOTS]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_text_and_lines_stand_out_from_what_they_are_on(colours: dict[str, str]) -> None:
    for text in ("ink", "quiet", "link", "good", "bad", "open"):
        for ground in ("paper", "panel"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    series = [colours[f"series-{number}"] for number in range(len(COLOURS))]
    assert all(contrast(each, colours["paper"]) >= 3 for each in series)
    assert len(set(series)) == len(series)
