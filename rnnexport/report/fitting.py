"""Tables that keep their figures however narrow the terminal is, and text from outside that stays text.

A table that is too wide loses the columns that say nothing in any row, then breaks its lines between words; where even
its figures would not fit, or a sentence would stand in a column of a word or two, each row becomes a record of several
lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_SAYS_NOTHING = ("", "-")
_NARROW = 20
"""A column of fewer characters holds a word or two in a line, and a longer text is hard to read there."""
_MOST_LINES = 3
"""Of a text in a narrow column."""
_FIGURE = re.compile(r"[-+×<>~]?\s?\d.{0,30}")
"""A cell whose parts mean something only together."""


class PlainConsole(Console):
    """Takes no string for markup, and shows control characters instead of obeying them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, *, style: Any = "", **options: Any) -> Text:
        """Render a string as it is."""
        return super().render_str(printable(text), style=style, **options)


def printable(text: str) -> str:
    """Write control characters, which could move the cursor or change colours, as escapes; keep line ends."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def print_fitted(console: Console, tables: Sequence[RenderableType]) -> None:
    """Print tables and lines within the console's width."""
    for table in tables:
        for part in _fitted(table, console.width) if isinstance(table, Table) else [table]:
            console.print(part, overflow="fold")


def _fitted(table: Table, width: int) -> Iterator[RenderableType]:
    if _width(table, [max(map(_longest_line, cells)) for cells in _cells(table)]) <= width:
        yield table
        return
    kept = _without_empty_columns(table)
    cells = _cells(kept)
    most = [max(map(_longest_line, column)) for column in cells]
    least = [
        size if column.no_wrap or column.justify == "right" else max(map(_longest_part, texts))
        for column, texts, size in zip(kept.columns, cells, most, strict=True)
    ]
    spare = width - _width(kept, least)
    if spare < 0:
        yield from _records(table, width)
        return
    for column, small, large in sorted(zip(kept.columns, least, most, strict=True), key=lambda each: each[2] - each[1]):
        column.width = min(large, small + spare)
        column.no_wrap, column.overflow = False, "fold"
        spare -= column.width - small
    if any(_is_tall(column.width or large, large) for column, large in zip(kept.columns, most, strict=True)):
        yield from _records(table, width)
        return
    yield kept


def _is_tall(width: int, longest: int) -> bool:
    return width < _NARROW and longest > _MOST_LINES * width


def _width(table: Table, columns: Sequence[int]) -> int:
    return sum(columns) + 3 * len(columns) + 1


def _cells(table: Table) -> list[list[Text]]:
    return [
        [_text(cell) for cell in ([column.header] if table.show_header else []) + [*column.cells]] or [Text()]
        for column in table.columns
    ]


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(str(cell)))


def _longest_line(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n")), default=0)


def _longest_part(text: Text) -> int:
    lines = [line.plain for line in text.split("\n")]
    parts = [part for line in lines for part in ([line] if _FIGURE.fullmatch(line) else line.split())]
    return max((Text(part).cell_len for part in parts), default=0)


def _without_empty_columns(table: Table) -> Table:
    """Return a copy without the columns that say nothing in any row."""
    kept = [c for c in table.columns if not c._cells or any(_text(cell).plain not in _SAYS_NOTHING for cell in c.cells)]
    fitted = Table(title=table.title, caption=table.caption, title_justify="left", show_header=table.show_header)
    for column in kept:
        fitted.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap)
    for number, row in enumerate(table.rows):
        fitted.add_row(*([*column.cells][number] for column in kept), style=row.style)
    return fitted


def _lines(parts: Sequence[Text], width: int) -> Iterator[Text]:
    """Join as many parts as fit into each line."""
    line = Text()
    for part in parts:
        if line and line.cell_len + 3 + part.cell_len > width:
            yield line
            line = Text()
        line = Text(" · ").join([line, part]) if line else part
    if line:
        yield line


def _records(table: Table, width: int) -> Iterator[RenderableType]:
    """Print each row as its first cell, and below it what the others are and say."""
    if table.title:
        yield _text(table.title)
    headings = [_text(column.header).plain for column in table.columns]
    for number, row in enumerate(table.rows):
        first, *others = ([*column.cells][number] for column in table.columns)
        yield Text.assemble(_text(first), style=row.style or "")
        said = [(heading, _text(cell)) for heading, cell in zip(headings[1:], others, strict=True)]
        parts = [Text.assemble(f"{h}: " if h else "", text) for h, text in said if text.plain not in _SAYS_NOTHING]
        yield from (Padding(line, (0, 0, 0, 2), expand=False) for line in _lines(parts, width - 2))
    if table.caption:
        yield _text(table.caption)
