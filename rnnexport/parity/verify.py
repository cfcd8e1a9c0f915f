"""Does each runtime compute the model that the bundle says it holds?

Every runtime runs in processes of its own, all calls of the grid on one session, and each output is judged against a
float64 run of the source model. Some calls are made again with one thread and in a graph of static shapes. Where the
bundle keeps labelled series, the task's metric is computed with each runtime's outputs too: it must agree with the
reference's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.arguments.options import with_arguments
from rnnexport.bundle.bundle import Bundle, Evaluation, load_bundle
from rnnexport.bundle.manifest import Manifest, Tolerance
from rnnexport.data.metrics import ERRORS, counted_rows, get_metric
from rnnexport.data.padding import pad_series
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import BundleError, InputError
from rnnexport.parity.compare import Reference
from rnnexport.parity.decoding import DECODED, decoder_rows
from rnnexport.parity.diagnosis.diagnosis import Judged, diagnose
from rnnexport.parity.evidence import write_evidence
from rnnexport.parity.grid import GRIDS, Case, draw_cases, grid_shapes, inputs_of
from rnnexport.parity.non_finite import non_finite_calls, properties
from rnnexport.parity.options import GridName, Limits, VerifyOptions
from rnnexport.parity.oracle import kept_cases, references
from rnnexport.parity.results import CaseVerdict, ParityReport, RuntimeParity, judge_case
from rnnexport.parity.sessions import CallRow, draw_rows, run_rows
from rnnexport.parity.streaming import WHOLE, draw_streams, run_streams, whole_series
from rnnexport.runtime.definitions import choose_runtimes
from rnnexport.runtime.worker import CaseResult
from rnnexport.versions import machine, tool_versions

EVALUATION = "evaluation set"


def verify_with(path: str | Path, options: VerifyOptions) -> ParityReport:
    """Judge the bundle at `path` in each runtime, and write `parity.json` and its raw outputs into it.

    Raises:
        BundleError: The bundle is missing or damaged, or has no tolerance for a precision.
        InputError: Its source model cannot be rebuilt, or there is no such `case`.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    bundle = load_bundle(Path(path))
    definitions, not_usable = choose_runtimes(options.runtimes)
    options.on_progress("the float64 reference")
    cases, expected = judged_cases(bundle, options.seed, options.grid)
    judge = _Judge(bundle, cases, expected, options.grid, options.limits, options.case)
    judged = []
    for definition in definitions:
        options.on_progress(definition.name)
        judged.append(judge.runtime(definition))
    report = ParityReport(
        bundle=str(path),
        seed=options.seed,
        grid=options.grid,
        outputs=_judged_outputs(bundle.manifest),
        reference=bundle.manifest.reference.summary if bundle.manifest.reference else None,
        inputs=inputs_of(bundle.manifest.inputs, bundle.series, cases),
        metric=bundle.manifest.metric if bundle.evaluation else None,
        reference_metric=_reference_metric(bundle, expected),
        runtimes=judged,
        not_usable=not_usable,
        versions=tool_versions(),
        machine=machine(),
    )
    if options.case is None:
        write_evidence(bundle, report, judge.raw_outputs)
    return report


verify = with_arguments(VerifyOptions, verify_with, "verify")


def _judged_outputs(manifest: Manifest) -> list[str]:
    of_decoder = [*(info.name for info in manifest.decoder.outputs), DECODED] if manifest.decoder else []
    return list(dict.fromkeys([*(info.name for info in manifest.outputs), *of_decoder]))


def judged_cases(
    bundle: Bundle, seed: int, grid: GridName = "default"
) -> tuple[list[Case], list[dict[str, Reference]]]:
    """Return the calls at which a bundle is judged, and what their outputs should be; the evaluation set comes last.

    A bundle whose source cannot be rebuilt keeps both, those of the default grid; the seed does not change them.
    """
    if bundle.manifest.source.kind != "builtin":
        cases, expected = kept_cases(bundle)
        count = len(GRIDS["quick"]) if grid == "quick" and not bundle.manifest.step else len(cases)
        return cases[:count], expected[:count]
    shapes = grid_shapes(grid, streaming=bundle.manifest.step is not None)
    cases = draw_cases(bundle.manifest.inputs, bundle.series, shapes, seed=seed)
    if bundle.evaluation is not None:
        cases.append(Case(EVALUATION, evaluation_feeds(bundle, bundle.evaluation)))
    return cases, references(bundle, [case.feeds for case in cases], [case.values for case in cases])


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


@dataclass
class _Judge:
    """One bundle and its calls, before one runtime after another."""

    bundle: Bundle
    cases: Sequence[Case]
    expected: Sequence[dict[str, Reference]]
    grid: GridName
    limits: Limits
    only: int | None
    raw_outputs: dict[str, NDArray[Any]] = field(default_factory=dict)

    def runtime(self, definition: Definition) -> RuntimeParity:
        tolerance = tolerance_for(self.bundle, definition.precision)
        if reason := self.bundle.why_not_applicable(definition):
            return RuntimeParity(definition=definition, tolerance=tolerance, cases=[], not_applicable=reason)
        rows = draw_rows(self.bundle, definition, self.cases, self.grid)
        numbered = [(n, row) for n, row in enumerate(rows) if self.only in (None, n)]
        poisoned = non_finite_calls(self.bundle.manifest.inputs, self.cases) if self.only is None else []
        results, fates = self._run(definition, [row for _, row in numbered], poisoned)
        verdicts = [
            self._judge(definition, n, row.name, result, self.expected[row.case], tolerance)
            for (n, row), result in zip(numbered, results, strict=True)
        ]
        told = Judged(
            [self.cases[row.case] for _, row in numbered],
            [self.expected[row.case] for _, row in numbered],
            results,
            [verdict.passed for verdict in verdicts],
        )
        diagnosis = diagnose(self.bundle, definition, tolerance, told)
        if self.bundle.manifest.step and not reads_source(definition):
            verdicts += self._streams(definition, tolerance, len(rows))
        if self.bundle.manifest.decoder and not reads_source(definition):
            verdicts += self._decoder(definition, tolerance, len(rows))
        if self.only is not None and not verdicts:
            raise InputError(f"there is no case {self.only} in {definition.name!r}; the cases are 0 to {len(rows) - 1}")
        metric, agrees = self._metric(definition, [row for _, row in numbered], results)
        return RuntimeParity(
            definition=definition,
            tolerance=tolerance,
            cases=verdicts,
            metric=metric,
            metric_agrees=agrees,
            diagnosis=diagnosis,
            non_finite=properties(self.bundle.manifest.outputs, fates),
        )

    def _run(
        self, definition: Definition, rows: Sequence[CallRow], poisoned: Sequence[Feeds]
    ) -> tuple[list[CaseResult], list[CaseResult]]:
        """The rows' results, and those of the poisoned calls, which go to the session of the plain rows as its last."""
        plain = [row for row in rows if row.plain]
        rest = rows[len(plain) :]
        feeds = [*(case.feeds for case in self.cases), *poisoned]
        last = [CallRow(len(self.cases) + number, "") for number in range(len(poisoned))]
        results = list(run_rows(self.bundle, definition, [*plain, *last, *rest], feeds, self.limits))
        end = len(plain) + len(last)
        return results[: len(plain)] + results[end:], results[len(plain) : end]

    def _judge(
        self,
        definition: Definition,
        number: int,
        name: str,
        result: CaseResult,
        reference: dict[str, Reference],
        tolerance: Tolerance,
        unjudged: Sequence[str] = (),
    ) -> CaseVerdict:
        verdict = judge_case(number, name, result, reference, tolerance, unjudged=unjudged)
        for comparison in verdict.comparisons:
            key = f"{number}/{comparison.output}"
            self.raw_outputs[f"{definition.name}/actual/{key}"] = result.outputs[comparison.output]
            self.raw_outputs[f"{definition.name}/expected/{key}"] = reference[comparison.output].expected
        return verdict

    def _streams(self, definition: Definition, tolerance: Tolerance, first: int) -> list[CaseVerdict]:
        """Judge the step graph: outputs against the oracle's, final states against those of the whole series."""
        manifest = self.bundle.manifest
        drawn = [
            (stream, self.expected[number])
            for number in whole_series(manifest, self.cases)
            for stream in draw_streams(manifest, self.cases[number])
        ]
        results = run_streams(self.bundle.step_path, manifest, definition, [stream for stream, _ in drawn])
        verdicts = []
        final_states: dict[str, Reference] = {}
        for number, ((stream, outputs), result) in enumerate(zip(drawn, results, strict=True), first):
            states = {after: result.outputs[after] for _, after in manifest.state_pairs if after in result.outputs}
            if stream.how == WHOLE:
                final_states = {n: Reference(state.astype(float), state.dtype, 0.0) for n, state in states.items()}
            if self.only in (None, number):
                reference = final_states | outputs
                verdict = self._judge(definition, number, stream.name, result, reference, tolerance, [*states])
                verdicts.append(verdict)
        return verdicts

    def _decoder(self, definition: Definition, tolerance: Tolerance, first: int) -> list[CaseVerdict]:
        """Judge the steps of the decoder, and what it decodes when it is fed its own output."""
        return [
            self._judge(definition, number, case.name, result, reference, tolerance)
            for number, (case, reference, result) in enumerate(decoder_rows(self.bundle, definition), first)
            if self.only in (None, number)
        ]

    def _metric(
        self, definition: Definition, rows: Sequence[CallRow], results: Sequence[CaseResult]
    ) -> tuple[float | None, bool]:
        """The task's metric from the evaluation set, and whether it is the reference's."""
        last = len(self.cases) - 1
        answers = [r for row, r in zip(rows, results, strict=True) if row.case == last and row.plain]
        if not answers or not _has_shapes(answers[0], self.expected[last]):
            return None, True
        metric, reference = _metric(self.bundle, answers[0].outputs), _reference_metric(self.bundle, self.expected)
        return metric, _agrees(self.bundle.manifest.metric, metric, reference, definition)


def _has_shapes(result: CaseResult, reference: dict[str, Reference]) -> bool:
    return {name: array.shape for name, array in result.outputs.items()} == {
        name: ref.expected.shape for name, ref in reference.items()
    }


def _reference_metric(bundle: Bundle, expected: Sequence[dict[str, Reference]]) -> float | None:
    return _metric(bundle, {name: reference.expected for name, reference in expected[-1].items()})


def _metric(bundle: Bundle, outputs: Feeds) -> float | None:
    if bundle.evaluation is None or bundle.manifest.metric is None:
        return None
    metric = get_metric(bundle.manifest.metric)
    lengths = np.array([len(values) for values in bundle.evaluation.series])
    return metric(counted_rows(outputs[bundle.manifest.outputs[0].name], lengths), bundle.evaluation.labels)


def _agrees(name: str | None, metric: float | None, reference: float | None, definition: Definition) -> bool:
    """In float32 decisions are the reference's, and errors but for rounding; lower precision may change a hundredth.

    Where there is no metric there is nothing to disagree about.
    """
    if metric is None or reference is None:
        return True
    allowed = 0.0 if definition.precision == "float32" else 0.01
    if name in ERRORS:
        allowed = max(allowed, 1e-4) * abs(reference)
    return abs(metric - reference) <= allowed + 1e-9
