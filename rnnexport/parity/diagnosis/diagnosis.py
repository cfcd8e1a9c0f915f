"""Why is an answer wrong: in the file or in the runtime, from where on, and through which fault?

1. If the file, evaluated in float64, gives what the source model gives, the runtime is wrong; else the file is.
2. The recurrent layers' outputs are made visible, and the first that differs is named, with direction, step and row.
3. Every fault model predicts the wrong answers. It explains them as far as its predictions come nearer to them than
   the right answers are: share = 1 - sum of squares(observed - predicted) / sum of squares(observed - expected), past
   what rounding allows; 0.99 is asked, since among many fault models one comes near a layer of few units by chance.
4. Where a narrow precision rounds is a library's own affair, so there the errors, observed and predicted, need only be
   of one size within a factor of 2, and go together: share = their correlation squared, of which 0.05 is asked.
5. The best is named, and every other whose unexplained rest is not twice as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError
from rnnexport.parity.compare import Reference, allowed_differences, compare, differences
from rnnexport.parity.diagnosis.fault_model import (
    Call,
    Evidence,
    FaultModel,
    Outputs,
    PredictedOutputs,
    recurrent_outputs,
)
from rnnexport.parity.diagnosis.fault_models import all_fault_models
from rnnexport.parity.diagnosis.localization import Divergence, first_divergence
from rnnexport.parity.grid import Case
from rnnexport.parity.onnx_float64 import Float64Model
from rnnexport.parity.static_axis import REMEDY as STATIC_REMEDY
from rnnexport.parity.static_axis import static_axis
from rnnexport.runtime.worker import CaseResult

if TYPE_CHECKING:
    import onnx

_LEAST_SHARE = 0.99
_LEAST_SHARE_OF_ROUNDING = 0.05
_ROUNDING_SIZE = 2.0
_EQUALLY_WELL = 2.0
_NEGLIGIBLE_SHARE = 1e-3
_MOST_CALLS = 3
_MOST_ELEMENTS = 5000
_LARGEST = 1e6


class Explanation(BaseModel):
    """A fault model that explains the wrong answers."""

    name: str
    says: str
    """What happened, in one sentence."""
    remedy: str
    share: float
    """How much of the squared difference it explains; 1 is all."""


class Diagnosis(BaseModel):
    """What is known about a failed runtime."""

    fault_in: Literal["file", "runtime", "either"]
    """`either` where the file cannot be evaluated in float64."""
    divergence: Divergence | None = None
    causes: list[Explanation] = []
    """Best first; several where they explain the answers equally well, none where no fault model does."""


@dataclass(frozen=True, slots=True)
class Judged:
    """All that one runtime answered."""

    cases: Sequence[Case]
    expected: Sequence[dict[str, Reference]]
    results: Sequence[CaseResult]
    passed: Sequence[bool]


def diagnose(bundle: Bundle, definition: Definition, tolerance: Tolerance, judged: Judged) -> Diagnosis | None:
    """Explain what a runtime, or the bundle's file, got wrong; `None` where nothing is, or nothing can be said."""
    if all(judged.passed):
        return None
    calls = _telling_calls(judged)
    if all(judged.passed[call.position] for call in calls):  # the others failed, or gave another shape
        return _frozen(bundle, definition, judged)
    import onnx

    file = onnx.load(bundle.model_path)
    try:
        of_file = [Float64Model(file).run(call.feeds) for call in calls]
    except InputError:
        return Diagnosis(fault_in="either")
    file_is_right = all(_agrees(outputs, call, tolerance) for outputs, call in zip(of_file, calls, strict=True))
    right = file if file_is_right else _right_graph(bundle, calls, tolerance)
    evidence = Evidence(bundle.manifest.inputs, calls, judged.expected, right, file)
    wrong = next(call for call in calls if not judged.passed[call.position])
    return Diagnosis(
        fault_in="runtime" if file_is_right else "file",
        divergence=first_divergence(bundle, definition, tolerance, evidence, wrong, file_is_right=file_is_right),
        causes=explain(evidence, tolerance),
    )


def _frozen(bundle: Bundle, definition: Definition, judged: Judged) -> Diagnosis | None:
    """Name the axis that is frozen, where one is; numbers that are wrong in the right shape are no sign of it.

    An ONNX file is its own reference, so what works there at all sizes is not frozen.
    """
    if reads_source(definition) or bundle.manifest.source.kind == "onnx":
        return None
    found = static_axis(bundle, definition, judged.cases, judged.passed)
    if found is None:
        return None
    says = f"it works at {found[0]}={found[1]} only"
    cause = Explanation(name=f"{found[0]} axis frozen", says=says, remedy=STATIC_REMEDY, share=1.0)
    return Diagnosis(fault_in="file", causes=[cause])


def _telling_calls(judged: Judged) -> list[Call]:
    """Some wrong calls, large enough to tell faults apart and small enough to be quick, and a right one."""
    calls = [
        Call(number, case.feeds, {name: result.outputs[name] for name in expected}, expected)
        for number, (case, expected, result) in enumerate(
            zip(judged.cases, judged.expected, judged.results, strict=True)
        )
        if _comparable(result, expected)
    ]
    calls.sort(key=lambda call: (_has_nan(call.feeds), abs(np.log(_elements(call.feeds) / _MOST_ELEMENTS * 4))))
    wrong = _of_different_shapes([call for call in calls if not judged.passed[call.position]])[:_MOST_CALLS]
    right = [call for call in calls if judged.passed[call.position]][:1]
    return wrong + right


def _of_different_shapes(calls: Sequence[Call]) -> list[Call]:
    """One call of each shape first: the same call, made again in another way, tells little more."""
    first: dict[str, Call] = {}
    for call in calls:
        first.setdefault(str([array.shape for array in call.feeds.values()]), call)
    chosen = list(first.values())
    return chosen + [call for call in calls if not any(call is each for each in chosen)]


def _comparable(result: CaseResult, expected: dict[str, Reference]) -> bool:
    shapes = {name: array.shape for name, array in result.outputs.items()}
    return result.failure is None and all(shapes.get(n) == r.expected.shape for n, r in expected.items())


def _elements(feeds: Feeds) -> int:
    return sum(array.size for array in feeds.values())


def _has_nan(feeds: Feeds) -> bool:
    return not all(np.isfinite(array).all() for array in feeds.values() if np.issubdtype(array.dtype, np.floating))


def _right_graph(bundle: Bundle, calls: Sequence[Call], tolerance: Tolerance) -> onnx.ModelProto | None:
    """The source model captured anew, where it can be and then computes what it should."""
    if bundle.manifest.source.kind != "builtin":
        return None
    import onnx_ir

    from rnnexport.capture import capture_plain
    from rnnexport.models.classifier import load_model

    model = load_model(bundle.description_path, bundle.path / "weights.safetensors")
    graph = onnx_ir.to_proto(capture_plain(model).model)
    try:
        outputs = [Float64Model(graph).run(_taken(graph, call.feeds)) for call in calls]
    except InputError:
        return None
    return graph if all(_agrees(each, call, tolerance) for each, call in zip(outputs, calls, strict=True)) else None


def _taken(graph: onnx.ModelProto, feeds: Feeds) -> Feeds:
    names = {value.name for value in graph.graph.input}
    return {name: array for name, array in feeds.items() if name in names}


def explain(evidence: Evidence, tolerance: Tolerance) -> list[Explanation]:
    """Name the fault models that explain wrong answers, by the rules of this module.

    A fault is looked for in all recurrent layers together, then in each alone.
    """
    layers = recurrent_outputs(evidence.right or evidence.file)
    for node in [None, *(layers if len(layers) > 1 else ())]:
        if causes := _explain(evidence, tolerance, node):
            return causes
    return []


def _explain(evidence: Evidence, tolerance: Tolerance, node: str | None) -> list[Explanation]:
    best: dict[str, Explanation] = {}
    for fault_model in all_fault_models():
        for prediction in fault_model.predictions(evidence, node):
            share = _share(fault_model, prediction, evidence.calls, tolerance)
            known = best.get(fault_model.name)
            if share > 0 and (known is None or share > known.share + 1e-9):
                best[fault_model.name] = Explanation(
                    name=fault_model.name, says=prediction.says, remedy=fault_model.remedy, share=share
                )
    causes = sorted(best.values(), key=lambda cause: -cause.share)
    rest = max((1 - causes[0].share) * _EQUALLY_WELL, _NEGLIGIBLE_SHARE) if causes else 0.0
    return [cause for cause in causes if 1 - cause.share <= rest]


def _share(fault_model: FaultModel, prediction: PredictedOutputs, calls: Sequence[Call], tolerance: Tolerance) -> float:
    """How much a prediction explains, 0 where that is less than is asked."""
    if fault_model.of_rounding:
        share = _explained_as_rounding(prediction, calls)
        return share if share >= _LEAST_SHARE_OF_ROUNDING else 0.0
    share = _explained(prediction, calls, tolerance)
    return share if share >= _LEAST_SHARE else 0.0


def _explained_as_rounding(prediction: PredictedOutputs, calls: Sequence[Call]) -> float:
    """The share of the module's fourth rule, of all finite elements."""
    errors = []
    for outputs, call in zip(prediction.outputs, calls, strict=True):
        for name, reference in call.expected.items():
            expected = reference.expected
            pair = np.stack([call.observed[name] - expected, outputs[name] - expected]).reshape(2, -1)
            errors.append(pair[:, np.isfinite(pair).all(axis=0)] / _size(expected))
    observed, predicted = np.concatenate(errors, axis=1)
    sizes = float(np.linalg.norm(observed)), float(np.linalg.norm(predicted))
    if not 0 < max(sizes) <= _ROUNDING_SIZE * min(sizes):
        return 0.0
    return max(0.0, float(observed @ predicted) / (sizes[0] * sizes[1])) ** 2


def _size(expected: NDArray[np.float64]) -> float:
    """Root mean square of the finite elements, 1 where that is 0."""
    finite = expected[np.isfinite(expected)]
    return float(np.sqrt(np.mean(np.square(finite)))) or 1.0 if finite.size else 1.0


def _explained(prediction: PredictedOutputs, calls: Sequence[Call], tolerance: Tolerance) -> float:
    """The share of the module's third rule, over all outputs of all calls, each relative to its output's size."""
    fault = unexplained = 0.0
    for outputs, call in zip(prediction.outputs, calls, strict=True):
        for name, reference in call.expected.items():
            predicted, expected, observed = outputs[name], reference.expected, call.observed[name]
            if predicted.shape != expected.shape:
                return 0.0
            target = expected if prediction.undone else observed
            size = _size(expected)
            allowed = allowed_differences(expected, tolerance, reference.float32_error)
            fault += float(np.sum(np.square(_bounded(observed, expected) / size)))
            rest = np.maximum(_bounded(predicted, target) - allowed, 0.0)
            unexplained += float(np.sum(np.square(rest / size)))
    return 1 - unexplained / fault if fault else 0.0


def _agrees(outputs: Outputs, call: Call, tolerance: Tolerance) -> bool:
    return all(
        compare(name, outputs[name], replace(reference, dtype=outputs[name].dtype), tolerance).passed
        for name, reference in call.expected.items()
    )


def _bounded(actual: NDArray[Any], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences, bounded, so that one NaN or infinity where none should be outweighs nothing else."""
    return np.minimum(differences(actual, expected), _LARGEST)
