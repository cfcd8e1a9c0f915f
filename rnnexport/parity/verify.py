"""Does each runtime compute the model that the bundle says it holds?

Every runtime runs in a process of its own, all calls of the grid on one session, and each output is judged against a
float64 run of the source model. Where the bundle keeps labelled series, the task's metric is computed with each
runtime's outputs too: it must agree with the reference's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle import Bundle, Evaluation, Tolerance, load_bundle
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import BundleError, RuntimeUnavailableError
from rnnexport.parity.compare import Comparison, Reference, compare
from rnnexport.parity.grid import GRID, STREAM_GRID, Case, draw_cases
from rnnexport.parity.oracle import feeds_for, kept_cases, references
from rnnexport.parity.streaming import WHOLE, draw_streams, run_streams, whole_series
from rnnexport.runtime import RuntimeStatus, choose_runtimes
from rnnexport.tasks.metrics import ERRORS, counted_rows, get_metric
from rnnexport.tasks.padding import pad_series
from rnnexport.versions import tool_versions
from rnnexport.worker import CaseResult, infer

EVALUATION = "evaluation set"


class CaseVerdict(BaseModel):
    """One call in one runtime."""

    case: str
    comparisons: list[Comparison] = []
    failure: str | None = None
    """The runtime's own words, where it gave no outputs."""

    @property
    def passed(self) -> bool:
        """True where every output is right."""
        return self.failure is None and all(comparison.passed for comparison in self.comparisons)


class RuntimeParity(BaseModel):
    """All calls in one runtime."""

    definition: Definition
    tolerance: Tolerance
    cases: list[CaseVerdict]
    metric: float | None = None
    metric_agrees: bool = True
    not_applicable: str | None = None
    """Why there was nothing to run, where that is so."""

    @property
    def passed(self) -> bool:
        """True where every call and the metric are right."""
        return self.metric_agrees and all(case.passed for case in self.cases)

    def worst(self, output: str) -> tuple[str, Comparison] | None:
        """Return the call and comparison that come nearest to their limit, failed ones first."""
        found = [(case.case, c) for case in self.cases for c in case.comparisons if c.output == output]
        return max(found, key=lambda pair: (not pair[1].passed, pair[1].max_abs_diff), default=None)


class ParityReport(BaseModel):
    """What `rnnexport verify` found out about one bundle."""

    schema_version: Literal[1] = 1
    bundle: str
    seed: int
    outputs: list[str]
    metric: str | None = None
    reference_metric: float | None = None
    runtimes: list[RuntimeParity]
    not_usable: list[RuntimeStatus]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """True where every runtime passed."""
        return all(runtime.passed for runtime in self.runtimes)

    @property
    def exit_status(self) -> int:
        """0: all passed; 1: one failed; 3: one that was named is not usable here."""
        if not self.passed:
            return 1
        return RuntimeUnavailableError.exit_status if self.not_usable else 0


def verify(
    path: str | Path,
    runtimes: Sequence[str | Path] = (),
    *,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> ParityReport:
    """Judge the bundle at `path` in each runtime, and write `parity.json` into it.

    Without `runtimes` every usable float32 one is judged. `on_progress` is told what runs next.

    Raises:
        BundleError: The bundle is missing or damaged, or has no tolerance for a precision.
        InputError: Its source model cannot be rebuilt.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    bundle = load_bundle(Path(path))
    definitions, not_usable = choose_runtimes(runtimes)
    on_progress("the float64 reference")
    cases, expected = judged_cases(bundle, seed)
    judged = []
    for definition in definitions:
        on_progress(definition.name)
        judged.append(_judge_runtime(bundle, definition, cases, expected))
    report = ParityReport(
        bundle=str(path),
        seed=seed,
        outputs=[info.name for info in bundle.manifest.outputs],
        metric=bundle.manifest.metric if bundle.evaluation else None,
        reference_metric=_reference_metric(bundle, expected),
        runtimes=judged,
        not_usable=not_usable,
        versions=tool_versions(),
    )
    bundle.write_evidence("parity.json", report.model_dump(mode="json"))
    return report


def judged_cases(bundle: Bundle, seed: int) -> tuple[list[Case], list[dict[str, Reference]]]:
    """Return the calls at which a bundle is judged, and what their outputs should be.

    A bundle whose source cannot be rebuilt keeps both; the seed does not change them.
    """
    if bundle.manifest.source.kind != "builtin":
        return kept_cases(bundle)
    shapes = GRID + STREAM_GRID if bundle.manifest.step else GRID
    cases = draw_cases(bundle.manifest.inputs, bundle.series, shapes, seed=seed)
    if bundle.evaluation is not None:
        cases.append(Case(EVALUATION, evaluation_feeds(bundle, bundle.evaluation)))
    return cases, references(bundle, [case.feeds for case in cases])


def evaluation_feeds(bundle: Bundle, evaluation: Evaluation) -> Feeds:
    """Pad the bundle's labelled series into one batch."""
    padded, lengths = pad_series(evaluation.series)
    by_role: dict[str, NDArray[Any]] = {"features": padded, "indices": padded, "lengths": lengths}
    return {info.name: by_role[info.role].astype(info.dtype) for info in bundle.manifest.inputs}


def tolerance_for(bundle: Bundle, precision: str) -> Tolerance:
    """Return the bundle's tolerance for a precision.

    Raises:
        BundleError: The manifest has none.
    """
    try:
        return bundle.manifest.tolerances[precision]
    except KeyError as exc:
        known = ", ".join(sorted(bundle.manifest.tolerances))
        raise BundleError(f"bundle {str(bundle.path)!r} has no tolerance for {precision!r}, only for: {known}") from exc


def _judge_runtime(
    bundle: Bundle, definition: Definition, cases: Sequence[Case], expected: Sequence[dict[str, Reference]]
) -> RuntimeParity:
    tolerance = tolerance_for(bundle, definition.precision)
    if reason := bundle.why_not_applicable(definition):
        return RuntimeParity(definition=definition, tolerance=tolerance, cases=[], not_applicable=reason)
    feeds = feeds_for(definition, [case.feeds for case in cases])
    results = list(infer(bundle.file_for(definition), definition, feeds))
    verdicts = [
        _judge_case(case.name, result, reference, tolerance)
        for case, result, reference in zip(cases, results, expected, strict=True)
    ]
    if bundle.manifest.step and definition.engine != "torch":
        verdicts += _judge_streams(bundle, definition, cases, expected)
    metric = _metric(bundle, results[-1].outputs) if _has_shapes(results[-1], expected[-1]) else None
    reference_metric = _reference_metric(bundle, expected)
    agrees = (
        metric is None
        or reference_metric is None
        or _agrees(bundle.manifest.metric, metric, reference_metric, definition)
    )
    return RuntimeParity(
        definition=definition, tolerance=tolerance, cases=verdicts, metric=metric, metric_agrees=agrees
    )


def _judge_streams(
    bundle: Bundle, definition: Definition, cases: Sequence[Case], expected: Sequence[dict[str, Reference]]
) -> list[CaseVerdict]:
    """Judge the step graph: outputs against the oracle's, final states against those of the whole series."""
    tolerance = tolerance_for(bundle, definition.precision)
    series = whole_series(bundle.manifest, cases)
    drawn = [(stream, expected[number]) for number in series for stream in draw_streams(bundle.manifest, cases[number])]
    results = run_streams(bundle.step_path, bundle.manifest, definition, [stream for stream, _ in drawn])
    verdicts = []
    final_states: dict[str, Reference] = {}
    for (stream, outputs), result in zip(drawn, results, strict=True):
        states = {after: result.outputs[after] for _, after in bundle.manifest.state_pairs if after in result.outputs}
        if stream.how == WHOLE:
            final_states = {name: Reference(state.astype(float), state.dtype, 0.0) for name, state in states.items()}
        verdicts.append(_judge_case(stream.name, result, final_states | outputs, tolerance))
    return verdicts


def _has_shapes(result: CaseResult, reference: dict[str, Reference]) -> bool:
    return {name: array.shape for name, array in result.outputs.items()} == {
        name: ref.expected.shape for name, ref in reference.items()
    }


def _judge_case(name: str, result: CaseResult, reference: dict[str, Reference], tolerance: Tolerance) -> CaseVerdict:
    if result.failure is not None:
        return CaseVerdict(case=name, failure=result.failure.message)
    missing = sorted(set(reference) - set(result.outputs))
    if missing:
        return CaseVerdict(case=name, failure=f"gave no output {missing[0]!r}")
    return CaseVerdict(
        case=name,
        comparisons=[compare(output, result.outputs[output], ref, tolerance) for output, ref in reference.items()],
    )


def _reference_metric(bundle: Bundle, expected: Sequence[dict[str, Reference]]) -> float | None:
    return _metric(bundle, {name: reference.expected for name, reference in expected[-1].items()})


def _metric(bundle: Bundle, outputs: Feeds) -> float | None:
    if bundle.evaluation is None or bundle.manifest.metric is None:
        return None
    metric = get_metric(bundle.manifest.metric)
    lengths = np.array([len(values) for values in bundle.evaluation.series])
    return metric(counted_rows(outputs[bundle.manifest.outputs[0].name], lengths), bundle.evaluation.labels)


def _agrees(name: str | None, metric: float, reference: float, definition: Definition) -> bool:
    """In float32 decisions are the reference's, and errors but for rounding; lower precision may change a hundredth."""
    allowed = 0.0 if definition.precision == "float32" else 0.01
    if name in ERRORS:
        allowed = max(allowed, 1e-4) * abs(reference)
    return abs(metric - reference) <= allowed + 1e-9
