"""What `--roofline` and `--profile` add to the tables of a benchmark."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from rnnexport.benchmark.analysis import Analysis
from rnnexport.benchmark.results import BenchReport
from rnnexport.report.latency import latency_tables
from rnnexport.report.profile import profile_tables
from rnnexport.report.roofline import roofline_tables


def bench_tables(report: BenchReport) -> list[Table | Text]:
    """All tables of a benchmark."""
    return [*latency_tables(report), *analysis_tables(report.analysis)]


def analysis_tables(analysis: Analysis) -> list[Table | Text]:
    """Nothing where nothing was asked for."""
    roofline = [] if analysis.roofline is None else roofline_tables(analysis.roofline)
    return [*roofline, *profile_tables(analysis.profiles)]
