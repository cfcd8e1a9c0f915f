"""Writes the page: one HTML file that needs nothing else, or Markdown for a comment.

Text from outside is escaped always: in HTML by Jinja, in Markdown by `markdown_text`, which every expression of the
template goes through. The page runs no script and loads nothing, and its policy forbids both.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rnnexport.arguments.options import with_arguments
from rnnexport.benchmark.comparison import compare_runs, read_report
from rnnexport.benchmark.results import BenchReport
from rnnexport.errors import InputError
from rnnexport.files.destinations import check_new_file
from rnnexport.files.whole_files import written_whole
from rnnexport.report.figure_style import check_matplotlib
from rnnexport.report.fitting import printable
from rnnexport.report.latency import comparison_table
from rnnexport.report.options import ReportOptions
from rnnexport.report.page.collected import Collected, collect
from rnnexport.report.page.origins import commands, machines, versions
from rnnexport.report.page.sections import sections
from rnnexport.report.page.summary import HEADINGS, summary_rows, verdict_of
from rnnexport.report.plain_text import PlainTable, plain_tables
from rnnexport.versions import tool_versions

DEFAULT_PAGE = Path("report.html")
MOST_BYTES = 1_000_000
_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def report_with(options: ReportOptions) -> str:
    """Return the page of all that the bundles hold, and write it where `out` says.

    Raises:
        BundleError: A bundle is missing or damaged.
        InputError: No bundle is named, `compare_with` is no result of bench, Matplotlib is missing for a page, the page
            would be too large to send, or `out` cannot be written.
    """
    if not options.bundles:
        raise InputError("there is no bundle to report on; name one such as exported/gru")
    if options.out is not None:
        check_new_file(Path(options.out), "out")
    if options.format == "html":
        check_matplotlib("a page with plots")
    earlier = read_report(Path(options.compare_with)) if options.compare_with is not None else None
    text = page(collect(options.bundles), options.format, earlier)
    if (size := len(text.encode())) > MOST_BYTES:
        raise InputError(f"the report would have {size / 1e6:.1f} MB, more than 1 MB; name fewer bundles")
    if options.out is not None:
        with written_whole(Path(options.out)) as file:
            file.write_text(text, encoding="utf-8")
    return text


report = with_arguments(ReportOptions, report_with, "report")


def page(collected: Sequence[Collected], format_: str, earlier: BenchReport | None = None) -> str:
    """Return the page of bundles as HTML or Markdown."""
    first = 0 if len(collected) > 1 else 1  # a name in every row says nothing where there is one
    facts: dict[str, Any] = {
        "bundles": collected,
        "verdicts": [verdict_of(each) for each in collected],
        "first": first,
        "headings": HEADINGS,
        "rows": [row for each in collected for row in summary_rows(each)],
        "notes": [note for each in collected for note in _notes(each)],
        "comparison": _beside(collected, earlier),
        "commands": commands(collected),
        "machines": machines(collected),
        "versions": [versions(each) for each in collected],
        "rnnexport": tool_versions()["rnnexport"],
    }
    if format_ == "md":
        return _MARKDOWN.get_template("summary.md.jinja").render(facts)
    return _HTML.get_template("page.html.jinja").render(facts, sections=sections(collected))


def tables_as_html(tables: Sequence[PlainTable | str]) -> str:
    """Return tables alone, as a notebook shows them."""
    return _HTML.get_template("notebook.html.jinja").render(tables=tables)


def _notes(each: Collected) -> list[str]:
    """What a reader of the table must know."""
    notes = [f"{each.name}: {e.name} is {e.state}." for e in each.all if e.state in ("stale", "damaged")]
    if bench := each.bench.report:
        notes += [f"{each.name}: {note}." for note in bench.conditions.notes]
        notes += [f"{each.name} in {row.definition.name}: {row.failure}" for row in bench.measurements if row.failure]
    reports = [report for report in (each.parity.report, each.bench.report) if report]
    missing = dict.fromkeys(str(status.error()) for report in reports for status in report.not_usable)
    return [*notes, *missing]


def _beside(collected: Sequence[Collected], earlier: BenchReport | None) -> list[PlainTable | str]:
    """The bundles' rows beside those of an earlier run."""
    if earlier is None:
        return []
    pairs = [compare_runs(earlier, each.bench.report) for each in collected if each.bench.report]
    compared = [comparison for pair in pairs for comparison in pair]
    return plain_tables([comparison_table(compared)])


def markdown_text(value: Any) -> Any:
    """Return text from outside so that Markdown shows it as it is, in one line."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    line = " ".join(printable(value).split())
    return _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _with_code(text: str) -> Markup:
    """Show what stands in backticks as code."""
    parts = printable(text).split("`")
    if len(parts) % 2 == 0:  # one of them has no partner
        return escape(printable(text))
    shown = [Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)]
    return Markup().join(shown)


def _environment(finalize: Any, *, autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("rnnexport.report.page"),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_HTML = _environment(_printable, autoescape=True)
_HTML.filters["with_code"] = _with_code
_MARKDOWN = _environment(markdown_text, autoescape=False)
