"""The steps of a check: each adds what it found to the model's outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from rnnexport.benchmark.benchmark import bench_with
from rnnexport.benchmark.options import LatencyOptions
from rnnexport.benchmark.results import Measurement, RowComparison
from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.checking.configuration import Configuration, LimitSettings, LintSettings, Step, VerifySettings
from rnnexport.checking.models import ModelToCheck
from rnnexport.checking.results import CheckedModel, OutcomeKind
from rnnexport.errors import RnnexportError, RuntimeUnavailableError
from rnnexport.exporting.export import export_with
from rnnexport.exporting.user_code import load_module
from rnnexport.linting.lint import lint
from rnnexport.linting.rule import Severity
from rnnexport.onnx_files.reading import external_files
from rnnexport.parity.options import Limits, VerifyOptions
from rnnexport.parity.results import RuntimeParity
from rnnexport.parity.verify import verify_with
from rnnexport.runtime.definitions import RuntimeStatus

Given = TypeVar("Given")
_SEVERITIES = get_args(Severity)
"""From the worst."""


def recorded(found: CheckedModel, step: Step, subject: str, take: Callable[[], Given]) -> Given | None:
    """Take a step; what it raises becomes an outcome, so that other steps and models are judged all the same."""
    try:
        return take()
    except RuntimeUnavailableError as exc:
        found.add(step, subject, "unavailable", str(exc))
    except RnnexportError as exc:
        found.add(step, subject, "failed", str(exc))
    except Exception as exc:
        what = f"a fault in rnnexport itself: {type(exc).__name__}: {exc}"
        found.add(step, subject, "failed", what)
    return None


def export_step(model: ModelToCheck, found: CheckedModel, on_note: Callable[[str], None]) -> Bundle:
    """Make the bundle, or open the one that is there."""
    settings = model.settings
    if model.kind == "bundle":
        bundle = load_bundle(model.source)
    elif model.kind == "module":
        weights = Path(settings.weights) if settings.weights else None
        module = load_module(settings.source, weights, settings.kwargs, on_note)
        bundle = export_with(module, model.export_options(on_note))
    else:
        bundle = export_with(settings.source, model.export_options(on_note))
    found.bundle = str(bundle.path)
    whole = "every file is as its export left it" if model.kind == "bundle" else f"written to {bundle.path}"
    found.add("export", settings.source, "passed", whole)
    return bundle


def lint_step(path: Path, settings: LintSettings, found: CheckedModel) -> None:
    """Apply the rules; a finding that counts is an outcome."""
    report = lint(path)
    found.lint.append(report)
    name = Path(report.path).name
    counted = _SEVERITIES[: _SEVERITIES.index(settings.fail_on) + 1]
    wrong = [each for each in report.findings if each.severity in counted and each.rule not in settings.ignore]
    for each in wrong:
        found.add("lint", each.rule, "failed", f"{name}: {each.where}: {each.what}")
    if not wrong:
        others = f"; {count} that do not count" if (count := len(report.findings)) else ""
        found.add("lint", name, "passed", f"{report.rules} rules found nothing{others}")


def verify_step(bundle: Bundle, settings: VerifySettings, found: CheckedModel) -> None:
    """Judge every runtime; each is an outcome."""
    limits = Limits(time_limit_seconds=settings.time_limit_seconds)
    options = VerifyOptions(settings.runtimes, grid=settings.grid, seed=settings.seed, limits=limits)
    found.parity = report = verify_with(bundle.path, options)
    for runtime in report.runtimes:
        kind: OutcomeKind = "passed" if runtime.passed else "failed"
        if runtime.not_applicable:
            kind = "not judged"
        said = runtime.not_applicable or (_right(runtime) if runtime.passed else runtime.why_wrong)
        found.add("verify", runtime.definition.name, kind, said)
    _note_unusable(found, "verify", report.not_usable)


def bench_step(bundle: Bundle, configuration: Configuration, baseline: Bundle | None, found: CheckedModel) -> None:
    """Measure every runtime at every shape, beside the baseline where there is one."""
    settings = configuration.bench
    options = LatencyOptions(
        [bundle.path],
        settings.runtimes,
        batch_sizes=settings.batch_sizes,
        time_steps=settings.time_steps,
        seconds=settings.seconds,
        repetitions=settings.repetitions,
        against=None if baseline is None else baseline.path,
        seed=settings.seed,
        time_limit_seconds=settings.time_limit_seconds,
    )
    found.bench = report = bench_with(options)
    comparisons = iter(report.comparisons)  # one for each row that is applicable
    for row in measured(found):
        if row.not_applicable:
            found.add("bench", _place(row), "not judged", row.not_applicable)
            continue
        compared = next(comparisons, None)
        if row.failure or row.median_ns is None:
            found.add("bench", _place(row), "failed", row.failure or "no figure")
        else:
            found.add("bench", _place(row), *timed(row.median_ns, compared, configuration.baseline.fail_over))
    _note_unusable(found, "bench", report.not_usable)


def limit_step(bundle: Bundle, limits: LimitSettings, found: CheckedModel) -> None:
    """Hold the limits against the file and against what was measured; each is an outcome."""
    if limits.model_size is not None:
        _hold(found, "model_size", "", model_size(bundle), limits.model_size, "bytes")
    for row in measured(found):
        figures = (
            ("latency_ms", row.median_ns, limits.latency_ms, "ms"),
            ("first_call_ms", row.first_call_ns, limits.first_call_ms, "ms"),
            ("memory", row.peak_memory_bytes, limits.memory, "bytes"),
        )
        for name, value, most, unit in figures if not (row.failure or row.not_applicable) else ():
            if most is not None:
                scaled = None if value is None else value / 1e6 if unit == "ms" else value
                _hold(found, name, f"{_place(row)}: ", scaled, most, unit)


def _hold(found: CheckedModel, name: str, place: str, value: float | None, most: float, unit: str) -> None:
    kind: OutcomeKind = "not judged" if value is None else "passed" if value <= most else "failed"
    size = "no figure" if value is None else f"{value:,.3f} {unit}" if unit == "ms" else f"{value:,.0f} {unit}"
    than = "more than" if kind == "failed" else "for a limit of"
    said = f"{place}{size}, {than} {most:,.6g} {unit}" if unit == "ms" else f"{place}{size}, {than} {most:,} {unit}"
    found.add("limits", name, kind, said)


def measured(found: CheckedModel) -> list[Measurement]:
    """The rows of the model itself, without those of its baseline."""
    return [row for row in found.bench.measurements if row.bundle == found.bundle] if found.bench else []


def model_size(bundle: Bundle) -> int:
    """Bytes of the graph with its weights."""
    files = [bundle.model_path, *(bundle.path / name for name in external_files(bundle.model_path))]
    return sum(path.stat().st_size for path in files)


def _right(runtime: RuntimeParity) -> str:
    errors = [each.times_float32_error for case in runtime.cases for each in case.comparisons]
    return f"{len(runtime.cases)} calls are right; largest error {max(errors, default=0):.2g} times float32's own"


def timed(median_ns: int, compared: RowComparison | None, fail_over: float) -> tuple[OutcomeKind, str]:
    """What a latency is worth beside the baseline's; only what is shown to be slower than allowed fails."""
    latency = f"{median_ns / 1e6:.3g} ms"
    if compared is None:
        return "passed", f"{latency}; compared with nothing"
    verdict = compared.verdict
    if verdict.ratio is None or verdict.outcome == "cannot tell":
        return "not judged", f"{latency}; nobody can tell how that compares with the baseline: {verdict.reason}"
    interval = "–".join(f"{each:.2f}" for each in verdict.interval or ())
    said = f"{latency}; {verdict.outcome}: {verdict.ratio:.2f} times the baseline's latency (95 %: {interval})"
    too_slow = verdict.outcome == "slower" and verdict.ratio > 1 + fail_over
    return ("failed", f"{said}, more than {1 + fail_over:.2f}") if too_slow else ("passed", said)


def _place(row: Measurement) -> str:
    return f"{row.definition.name} {row.batch_size} × {row.time_steps}"


def _note_unusable(found: CheckedModel, step: Step, statuses: Sequence[RuntimeStatus]) -> None:
    for status in statuses:
        name, said = status.definition.name, str(status.error())
        found.add(step, name, "unavailable", said)
