"""What a plan is tuned for: the calls that are timed, and those on which answers are judged.

A workload is the sequence graph at some sizes of call, or the step graph at some sizes of chunk. Half of the bundle's
labelled series calibrate, the other half judges.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.benchmark.targets import Prepared
from rnnexport.bundle.bundle import Bundle, Evaluation
from rnnexport.bundle.chunks import fresh_states, sizes
from rnnexport.bundle.manifest import StepGraphInfo
from rnnexport.bundle.plan import GraphKind
from rnnexport.data.metrics import counted_rows, get_metric
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError
from rnnexport.exporting.onnx_source import sample_cases
from rnnexport.optimizing.calibration import check_finite
from rnnexport.parity.compare import Reference, compare, largest_difference
from rnnexport.parity.grid import CaseShape, draw_feeds, symbol_sizes
from rnnexport.parity.oracle import feeds_for, references
from rnnexport.parity.streaming import ChunkedSeries, run_streams
from rnnexport.parity.verify import evaluation_feeds, judged_cases, tolerance_for
from rnnexport.runtime.worker import Arrays, CaseResult, infer, run_job
from rnnexport.tuning.budget import Quality

References = dict[str, Reference]
TIME_LIMIT_SECONDS = 60
"""For loading, and for each call or window of calls; what takes longer counts as hanging."""
_LARGEST_KEPT = 4 * 2**20
"""Bytes of a call that a bundle keeps with a plan."""
_FEWEST_SERIES = 4
"""Below, all series calibrate and all judge."""
_CHUNKS = 48
"""Of the series over which a step graph is judged."""


@dataclass(frozen=True)
class Workload(ABC):
    """The calls of one kind of graph."""

    bundle: Bundle
    shapes: tuple[CaseShape, ...]
    calls: list[tuple[Feeds, References]]
    """What is timed, by shape, and what it should give."""
    calibration: list[Feeds]
    judged: list[tuple[Feeds, References]]
    judged_on: str
    """Where `judged` comes from."""

    kind: GraphKind

    @property
    def source(self) -> Path:
        """The graph as it was exported."""
        return self.bundle.model_path if self.kind == "sequence" else self.bundle.step_path

    @property
    def sizes(self) -> list[dict[str, int]]:
        """What the symbolic dimensions of the graph's inputs are, by shape."""
        step = self.bundle.manifest.step
        inputs = step.inputs if self.kind == "step" and step else self.bundle.manifest.inputs
        return [symbol_sizes(inputs, shape) for shape in self.shapes]

    def fault(self, definition: Definition, call: int, outputs: Arrays, *, lossy: bool) -> str | None:
        """Say what is wrong with the outputs of a timed call; a lossy one is judged by its quality later."""
        tolerance = tolerance_for(self.bundle, "float32")
        for name, reference in self.calls[call][1].items():
            if lossy:
                if outputs[name].shape != reference.expected.shape or not np.isfinite(outputs[name]).all():
                    return f"wrong answer: output {name!r} has another shape, or is not finite"
            elif not (comparison := compare(name, outputs[name], reference, tolerance)).passed:
                return f"wrong answer: output {name!r} {comparison.reason}"
        return None

    @property
    def kept_call(self) -> tuple[Feeds, References]:
        """What a bundle keeps to judge its plan on another CPU: a judged call; where that is large, a timed one."""
        large = self.kind == "step" or sum(array.nbytes for array in self.judged[0][0].values()) > _LARGEST_KEPT
        return self.calls[0] if large else self.judged[0]

    def error(self, path: Path, definition: Definition) -> float:
        """Return the largest |actual - float64 reference| of `kept_call`.

        Raises:
            RnnexportError: It does not run.
        """
        feeds, expected = self.kept_call
        (result,) = infer(path, definition, feeds_for(definition, [feeds]), time_limit_seconds=TIME_LIMIT_SECONDS)
        outputs = result.checked().outputs
        return max(largest_difference(outputs[name], each.expected) for name, each in expected.items())

    @abstractmethod
    def quality(self, path: Path, definition: Definition) -> Quality:
        """Judge a file in a runtime on `judged`.

        Raises:
            RnnexportError: It does not run.
        """

    @abstractmethod
    def why_refused(self, path: Path, definition: Definition, *, lossy: bool) -> str | None:
        """Say what is wrong with a file in a runtime at other sizes than the ones timed, or `None`."""

    def _quality(self, results: Sequence[Arrays], metric: float | None) -> Quality:
        tolerance = tolerance_for(self.bundle, "float32")
        told = [
            compare(name, outputs[name], reference, tolerance)
            for outputs, (_, expected) in zip(results, self.judged, strict=True)
            for name, reference in expected.items()
        ]
        wrong = [f"output {c.output!r} {c.reason}" for c in told if not c.passed]
        error = max((c.max_abs_diff for c in told), default=0.0)
        return Quality(error=error, metric=metric, float32_fault=wrong[0] if wrong else None)


@dataclass(frozen=True)
class SequenceWorkload(Workload):
    """Calls of the sequence graph."""

    labelled: Evaluation | None
    """The series of `judged`, where they have labels."""

    @classmethod
    def make(cls, bundle: Bundle, shapes: Sequence[CaseShape], inputs: Path | None, seed: int) -> SequenceWorkload:
        """Draw and compute all calls.

        Raises:
            InputError: The model refuses a shape, or `inputs` does not fit it or is not finite.
        """
        calls = _prepared(bundle, shapes, seed)
        evaluation = bundle.evaluation
        if inputs is not None:
            feeds = _given(bundle.model_path, inputs)
            calibration, judged, judged_on, labelled = [feeds], [feeds], str(inputs), None
        elif evaluation is not None:
            labelled, rest = _halves(evaluation)
            calibration, judged = [evaluation_feeds(bundle, rest)], [evaluation_feeds(bundle, labelled)]
            judged_on = "half of the bundle's own series"
        else:
            return cls(bundle, tuple(shapes), calls, [], calls, "drawn inputs", "sequence", None)
        pairs = list(zip(judged, references(bundle, judged), strict=True))
        return cls(bundle, tuple(shapes), calls, calibration, pairs, judged_on, "sequence", labelled)

    @property
    def reference_metric(self) -> float | None:
        """That of the float64 reference."""
        return self._metric({name: reference.expected for name, reference in self.judged[0][1].items()})

    def quality(self, path: Path, definition: Definition) -> Quality:
        """Judge on `judged`."""
        results = [r.checked().outputs for r in self._infer(path, definition, [feeds for feeds, _ in self.judged])]
        return self._quality(results, self._metric(results[0]))

    def why_refused(self, path: Path, definition: Definition, *, lossy: bool) -> str | None:
        """Judge by the calls of `verify`: other sizes, lengths, and padding that must not matter."""
        cases, expected = judged_cases(self.bundle, seed=0)
        tolerance = tolerance_for(self.bundle, "float32")
        for case, result, wanted in zip(
            cases, self._infer(path, definition, [case.feeds for case in cases]), expected, strict=True
        ):
            if result.failure:
                return f"at {case.name}: {result.failure.message}"
            for name, reference in wanted.items():
                actual = result.outputs[name]
                if lossy and (actual.shape != reference.expected.shape or not np.isfinite(actual).all()):
                    return f"at {case.name}: output {name!r} has another shape, or is not finite"
                if not lossy and not (comparison := compare(name, actual, reference, tolerance)).passed:
                    return f"at {case.name}: output {name!r} {comparison.reason}"
        return None

    def _infer(self, path: Path, definition: Definition, feeds: Sequence[Feeds]) -> list[CaseResult]:
        calls = feeds_for(definition, feeds)
        return list(infer(path, definition, calls, time_limit_seconds=TIME_LIMIT_SECONDS))

    def _metric(self, outputs: Feeds) -> float | None:
        manifest = self.bundle.manifest
        if self.labelled is None or manifest.metric is None:
            return None
        lengths = np.array([len(values) for values in self.labelled.series])
        rows = counted_rows(np.asarray(outputs[manifest.outputs[0].name]), lengths)
        return get_metric(manifest.metric)(rows, self.labelled.labels)


class StepWorkload(Workload):
    """Calls of the step graph, the states carried along."""

    reference_metric = None

    @classmethod
    def make(cls, bundle: Bundle, shapes: Sequence[CaseShape], seed: int) -> StepWorkload:
        """Draw and compute all calls.

        Raises:
            InputError: The bundle has no step graph.
        """
        step = bundle.manifest.step
        if step is None:
            raise InputError(f"bundle {str(bundle.path)!r} has no step graph; export it with `streaming`")
        generator = np.random.default_rng(seed)
        feeds = [draw_feeds(step.inputs, bundle.series, shape, generator) for shape in shapes]
        calls = list(zip(feeds, _float64(bundle.step_path, step, feeds), strict=True))
        series = [
            draw_feeds(
                bundle.manifest.inputs,
                bundle.series,
                CaseShape(shape.batch_size, shape.time_steps * _CHUNKS, from_series=True, mixed_lengths=False),
                generator,
            )
            for shape in shapes
        ]
        judged = list(zip(series, references(bundle, series), strict=True))
        calibration = [_with_fresh_states(step, one) for one in series]
        return cls(bundle, tuple(shapes), calls, calibration, judged, "series fed chunk by chunk", "step")

    def quality(self, path: Path, definition: Definition) -> Quality:
        """Judge whole series, fed chunk by chunk."""
        results = self._streams(path, definition)
        return self._quality([result.checked().outputs for result in results], None)

    def why_refused(self, path: Path, definition: Definition, *, lossy: bool) -> str | None:
        """Nothing: a step graph's other calls are chunks of other sizes, which a plan need not take."""
        return None

    def _streams(self, path: Path, definition: Definition) -> list[CaseResult]:
        step = self.bundle.manifest.step
        assert step is not None
        taken = {info.name for info in step.inputs}
        streams = []
        for shape, (feeds, _) in zip(self.shapes, self.judged, strict=True):
            batch = shape.batch_size if step.batch_dimension else 1
            schedule = np.tile(np.array([shape.time_steps, *[1] * batch], np.int64), (_CHUNKS, 1))
            streams.append(
                ChunkedSeries(shape.name, "chunks", {n: a for n, a in feeds.items() if n in taken}, schedule)
            )
        return list(run_streams(path, self.bundle.manifest, definition, streams))


def _prepared(bundle: Bundle, shapes: Sequence[CaseShape], seed: int) -> list[tuple[Feeds, References]]:
    prepared = Prepared.make(bundle, shapes, seed)
    if prepared.refused:
        shape, reason = next(iter(prepared.refused.items()))
        raise InputError(f"bundle {str(bundle.path)!r} at {shape.name}: {reason}")
    return [prepared.calls[shape] for shape in shapes]


def _given(model_path: Path, inputs: Path) -> Feeds:
    from rnnexport.onnx_files.reading import read_model

    feeds = sample_cases(inputs, read_model(model_path))[0].feeds
    check_finite(inputs, [feeds])
    return feeds


def _halves(evaluation: Evaluation) -> tuple[Evaluation, Evaluation]:
    """Every other series, and the rest; both whole where there are few."""
    count = len(evaluation.series)
    if count < _FEWEST_SERIES:
        return evaluation, evaluation
    ends = np.cumsum([len(values) for values in evaluation.series])[:-1]
    by_series = len(evaluation.labels) == count
    labels = list(evaluation.labels[:, None]) if by_series else np.split(evaluation.labels, ends)

    def half(start: int) -> Evaluation:
        kept: NDArray[Any] = evaluation.labels[start::2] if by_series else np.concatenate(labels[start::2])
        return Evaluation(evaluation.series[start::2], kept)

    return half(0), half(1)


def _with_fresh_states(step: StepGraphInfo, series: Feeds) -> Feeds:
    """A whole series as one chunk, with states of 0."""
    names = [info.name for info in step.inputs]
    return fresh_states(step, names, sizes(step, series)[0]) | {n: series[n] for n in names if n in series}


def _float64(path: Path, step: StepGraphInfo, feeds: Sequence[Feeds]) -> list[References]:
    """What a step graph should give, evaluated in float64."""
    answers = [
        r.checked().outputs for r in run_job("rnnexport.parity.onnx_float64:float64_job", {"model": str(path)}, feeds)
    ]
    return [
        {
            info.name: Reference(
                expected := answer[f"float64/{info.name}"].astype(np.float64),
                np.dtype(info.dtype),
                float(np.abs(answer[f"float32/{info.name}"] - expected).max(initial=0)),
            )
            for info in step.outputs
        }
        for answer in answers
    ]
