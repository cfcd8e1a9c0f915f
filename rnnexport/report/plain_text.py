"""The terminal's tables as plain text, for pages, notebooks and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rnnexport.report.fitting import printable

_LONGEST_CELL = 400


@dataclass(frozen=True)
class PlainTable:
    """A table of words."""

    title: str
    headings: Sequence[str]
    """None where the first cell of each row says what the others are."""
    rows: Sequence[Sequence[str]]
    caption: str = ""


def plain_tables(tables: Sequence[RenderableType]) -> list[PlainTable | str]:
    """Return tables and lines without their styles; an empty table is left out, and very long texts are cut."""
    plain = [_table(each) if isinstance(each, Table) else _cut(each) for each in tables]
    return [each for each in plain if isinstance(each, str) or each.rows]


def _table(table: Table) -> PlainTable:
    rows = zip(*([_cut(cell) for cell in column.cells] for column in table.columns), strict=True)
    headings = [_cut(column.header) for column in table.columns] if table.show_header else []
    title, caption = (_cut(text) if text else "" for text in (table.title, table.caption))
    return PlainTable(title, headings, list(rows), caption)


def _cut(cell: object) -> str:
    text = printable(cell.plain if isinstance(cell, Text) else str(cell))
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]} …"
