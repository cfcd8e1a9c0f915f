"""A page read as a browser would, and what is wrong with it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input", "col"}
SVG_ALONE = {"path", "use", "rect", "circle", "line"}


class Page(HTMLParser):
    """Elements, attributes and text; `problems` says where elements are not closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        """The element that a text is in, and the text."""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.problems += [f"<{tag}> has {name} twice" for name in names if names.count(name) > 1]
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data))

    @property
    def text(self) -> str:
        """All that is to be read."""
        return " ".join(" ".join(text for tag, text in self.texts if tag != "style").split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def faults(text: str) -> list[str]:
    """What is wrong with a page that is to be whole, self-contained and accessible."""
    page = Page(text)
    found = list(page.problems)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    found += [f"id {name} is there twice" for name in set(ids) if ids.count(name) > 1]
    for tag, attributes in page.elements:
        if tag in ("script", "iframe", "object", "embed", "link", "img", "form", "base"):
            found.append(f"there is a <{tag}>")
        found += [f"<{tag}> has {name}" for name in attributes if name.startswith("on") or name == "src"]
        for name, value in attributes.items():
            named = [value] if name == "href" else []
            named += re.findall(r"url\(([^)]*)\)", value)
            found += [f"<{tag} {name}> leads to {each}" for each in named if each[:1] != "#" or each[1:] not in ids]
    styles = " ".join(data for tag, data in page.texts if tag == "style")
    found += [f"the style loads {each}" for each in re.findall(r"url\([^)]*\)|@import[^;]*", styles)]
    for attributes in page.all("svg"):
        if attributes.get("role") != "img" or not attributes.get("aria-label"):
            found.append("an <svg> says nothing to those who cannot see it")
    in_svg = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    found += [f"a plot has a colour of its own: {c}" for svg in in_svg for c in re.findall(r"#[0-9a-fA-F]{6}\b", svg)]
    found += ["a <th> has no scope" for attributes in page.all("th") if "scope" not in attributes]
    if len(page.all("figure")) != len(page.all("figcaption")):
        found.append("a <figure> has no caption")
    if not text.lstrip().startswith("<!DOCTYPE html>") or page.all("html") != [{"lang": "en"}]:
        found.append("it does not say what it is")
    if len(text.encode()) > 1_000_000:
        found.append("it is too large to send")
    return found
