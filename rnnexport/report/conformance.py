"""Tables of a conformance report, for a terminal and for a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from rnnexport.conformance.results import ConformanceReport, Disagreement, RuntimeConformance

_WORDS = {"crash": "crash", "wrong": "WRONG", "refused": "refused", "right": "right"}
_STYLES = {"crash": "red", "WRONG": "red", "refused": "yellow"}
_LONGEST_MESSAGE = 200


class _Cells(NamedTuple):
    """A table before it is known where it goes."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def conformance_tables(report: ConformanceReport) -> list[Table | Text]:
    """What became of each feature, and the findings of each runtime, for a terminal."""
    missing = [Text(str(status.error()), style="yellow") for status in report.not_usable]
    return [*map(_rich_table, _all_cells(report)), *missing]


def conformance_markdown(report: ConformanceReport) -> str:
    """The same in Markdown."""
    return "\n".join(map(_markdown_table, _all_cells(report)))


def _all_cells(report: ConformanceReport) -> list[_Cells]:
    return [_features(report), *(_findings(runtime) for runtime in report.runtimes)]


def _features(report: ConformanceReport) -> _Cells:
    columns = [(runtime, shapes) for runtime in report.runtimes for shapes in ("static", "dynamic")]
    counts = {
        (row.feature, runtime.definition.name, row.shapes): row.counts
        for runtime in report.runtimes
        for row in runtime.features
    }
    labels = dict.fromkeys(row.feature for runtime in report.runtimes for row in runtime.features)
    rows = [
        [label, *(_cell(counts[label, runtime.definition.name, shapes]) for runtime, shapes in columns)]
        for label in labels
    ]
    headings = [f"{runtime.definition.name} {runtime.version or ''}, {shapes} shapes" for runtime, shapes in columns]
    return _Cells(f"{report.examples} examples, seed {report.seed}", ["feature", *headings], rows)


def _cell(counts: Mapping[Any, int]) -> str:
    """The worst first, such as `WRONG 3, right 20`."""
    return ", ".join(f"{word} {counts[kind]}" for kind, word in _WORDS.items() if counts.get(kind)) or "-"


def _findings(runtime: RuntimeConformance) -> _Cells:
    has_folders = any(finding.folder for finding in runtime.findings)
    headings = ["", "needs", "examples", "minimal case", "which is", *(["folder"] if has_folders else [])]
    rows = [
        [_WORDS[finding.kind], finding.cause, str(finding.drawn), _message(finding), _example(finding)]
        + ([finding.folder or "-"] if has_folders else [])
        for finding in runtime.findings
    ]
    title = f"{runtime.definition.name} {runtime.version or ''}: what is not right, and what it needs"
    return _Cells(title, headings, rows)


def _message(finding: Disagreement) -> str:
    alone = "" if finding.reproduced is not False else " (not in a fresh process)"
    message = finding.message
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[: _LONGEST_MESSAGE // 2]} … {message[-_LONGEST_MESSAGE // 2 :]}"
    return message + alone


def _example(finding: Disagreement) -> str:
    nodes = [_pairs(node) for node in finding.example["nodes"]]
    graph = _pairs({name: value for name, value in finding.example.items() if name != "nodes"})
    return "; ".join([*nodes, graph])


def _pairs(choices: Mapping[str, Any]) -> str:
    words = {True: "given", False: "absent"}
    return ", ".join(
        str(value) if name == "op_type" else f"{name} {words[value] if isinstance(value, bool) else value}"
        for name, value in choices.items()
    )


def _rich_table(cells: _Cells) -> Table:
    table = Table(title=cells.title, title_justify="left")
    for heading in cells.headings:
        table.add_column(heading, overflow="fold")
    for row in cells.rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell.split(" ")[0], "")) for cell in row))
    return table


def _markdown_table(cells: _Cells) -> str:
    lines = [cells.headings, ["---"] * len(cells.headings), *cells.rows]
    rows = [f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines]
    return "\n".join([f"**{cells.title}**", "", *rows, ""])


def _markdown_cell(text: str) -> str:
    return text.replace("|", r"\|").replace("WRONG", "**WRONG**")
