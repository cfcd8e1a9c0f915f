"""What a notebook shows of a result: the tables that the command line prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import RenderableType

from rnnexport.benchmark.results import BenchReport
from rnnexport.benchmark.scenarios import ScenarioReport
from rnnexport.bundle.bundle import Bundle
from rnnexport.conformance.results import ConformanceReport
from rnnexport.linting.results import LintReport
from rnnexport.optimizing.optimize import OptimizeReport
from rnnexport.parity.drift import DriftReport
from rnnexport.parity.results import ParityReport
from rnnexport.predicting.predictor import Predictions, Predictor
from rnnexport.report.analysis import bench_tables
from rnnexport.report.bundle import bundle_tables
from rnnexport.report.conformance import conformance_tables
from rnnexport.report.drift import drift_tables
from rnnexport.report.lint import lint_tables
from rnnexport.report.optimize import optimize_tables
from rnnexport.report.page.writing import tables_as_html
from rnnexport.report.parity import parity_tables
from rnnexport.report.plain_text import plain_tables
from rnnexport.report.predictions import predictions_table, predictor_table
from rnnexport.report.scenarios import scenario_tables
from rnnexport.report.study import study_tables
from rnnexport.report.training import training_table
from rnnexport.report.tune import tune_tables
from rnnexport.study.study import StudyResult
from rnnexport.training.training import TrainingResult
from rnnexport.tuning.results import TuneReport


def as_html(shown: object) -> str:
    """Return the tables of a result, a bundle or a predictor as HTML."""
    return tables_as_html(plain_tables(_tables(shown)))


def _tables(shown: Any) -> Sequence[RenderableType]:
    return next(tables(shown) for kind, tables in _TABLES.items() if isinstance(shown, kind))


_TABLES: dict[type, Callable[[Any], Sequence[RenderableType]]] = {
    BenchReport: bench_tables,
    Bundle: bundle_tables,
    ConformanceReport: conformance_tables,
    DriftReport: drift_tables,
    LintReport: lint_tables,
    OptimizeReport: optimize_tables,
    ParityReport: parity_tables,
    Predictions: lambda shown: [predictions_table(shown)],
    Predictor: lambda shown: [predictor_table(shown)],
    ScenarioReport: scenario_tables,
    StudyResult: study_tables,
    TrainingResult: lambda shown: [training_table([shown])],
    TuneReport: tune_tables,
}
