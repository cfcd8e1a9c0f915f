"""The site as `nox -s docs` builds it: what a reader looks for is near its front page."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

SITE = Path(__file__).resolve().parent.parent / "docs/_build/html"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built; run: nox -s docs"),
]


class _Article(HTMLParser):
    """Links and text of a page, without what stands beside every page: menu, contents, search."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.texts: list[str] = []
        self._inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside += tag == "article"
        if self._inside and tag == "a":
            self.links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag == "article"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.append(data)


@cache
def article(page: Path) -> _Article:
    return _Article(page.read_text(encoding="utf-8"))


@cache
def clicks() -> dict[str, int]:
    """How many links lead from the front page to each page."""
    found = {(SITE / "index.html").resolve(): 0}
    for page in (waiting := list(found)):
        for link in article(page).links:
            target = (page.parent / link.partition("#")[0]).resolve()
            if ":" not in link and target.suffix == ".html" and target not in found:
                found[target] = found[page] + 1
                waiting.append(target)
    return {page.relative_to(SITE.resolve()).with_suffix("").as_posix(): count for page, count in found.items()}


@pytest.mark.parametrize(
    ("page", "answer"),
    [
        ("tutorial/your-module", "rnnexport export tagger:Tagger --weights tagger.pt --input"),
        ("explanation/parity", "max(atol + rtol"),
        ("tutorial/streams", "stream = rnnexport.load(folder).stream()"),
        ("how-to/write-an-engine", 'entry-points."rnnexport.engines"'),
        ("how-to/ci", "rnnexport check"),
        ("reference/rules", "why it matters"),
        ("reference/fault-models", "What to do"),
        ("reference/commands", "--help"),
    ],
)
def test_an_answer_is_two_clicks_away(page: str, answer: str) -> None:
    assert clicks()[page] <= 2
    assert answer in "".join(article(SITE / f"{page}.html").texts)


def test_every_function_of_the_library_is_described() -> None:
    import rnnexport

    text = "".join(article(SITE / "reference/python.html").texts)
    for name in rnnexport.__all__:
        _, _, described = text.partition(f"rnnexport.{name}(")
        assert "Raises" in described.partition("rnnexport.")[0] or "Returns" in described.partition("rnnexport.")[0]
