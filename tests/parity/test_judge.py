"""The judge, judged: a reference that is wrong gives no verdict, a runtime that is wrong never passes.

Faults are planted in single operators of the evaluator, and in what a runtime answers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import rnnexport
from rnnexport.errors import NoReferenceError
from rnnexport.parity import onnx_float64
from rnnexport.parity.float64 import graph as float64_graph
from rnnexport.parity.float64.control_flow import CONTROL_FLOW
from rnnexport.parity.float64.supported_operators import CLAIMED
from rnnexport.parity.recurrent_operators import evaluate
from rnnexport.parity.verify import verify
from tests.parity.backend_cases import all_cases, outcome
from tests.parity.drawn_graphs import CHANNELS, KINDS, Drawn, feeds, graph

Plant = Callable[[str, str], None]


def _scaled(x: Any) -> Any:
    return x * 1.001


def _one_element(x: Any) -> Any:
    y = np.array(x)
    y.flat[-1:] += 0.01 * np.abs(y).max(initial=1e-3)
    return y


FAULTS = {"scaled": _scaled, "one element": _one_element}


def _wrong(fault: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_wrong(fault, item) for item in value]
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUS":
        return value
    if value.dtype.kind == "b":
        return ~value
    return FAULTS[fault](value) if value.dtype == np.float64 else value + value.dtype.type(1)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Plant a fault in the evaluator's outputs of an operator."""
    real, control_flow = onnx_float64._kernel, dict(CONTROL_FLOW)

    def plant(op_type: str, fault: str) -> None:
        def faulty(compute: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
            def run(*arguments: Any) -> tuple[Any, ...]:
                return tuple(_wrong(fault, output) for output in compute(*arguments))

            return run

        def kernel(alteration: Any, altered_node: Any, node: Any, opset: int) -> Any:
            computed = real(alteration, altered_node, node, opset)
            return faulty(computed) if node.op_type == op_type else computed

        monkeypatch.setattr(onnx_float64, "_kernel", kernel)
        altered = {n: faulty(f) if n == op_type else f for n, f in control_flow.items()}
        monkeypatch.setattr(float64_graph, "CONTROL_FLOW", altered)

    return plant


def judge(model: onnx.ModelProto, calls: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Make the reference of a file, as exporting does; what was held."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    results = list(onnx_float64.float64_job({"model": str(path)}, iter(calls)))
    return results[0][1]


def _operators(model: onnx.ModelProto) -> list[str]:
    return sorted({node.op_type for node in model.graph.node})


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_of_a_correct_graph_is_held(kind: str, tmp_path: Path) -> None:
    model = graph(kind)
    held = judge(model, [feeds(model)], tmp_path)
    bodies = [attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")]
    assert held == {"held": sum(len(each.node) for each in (model.graph, *bodies)), "not_held": [], "never_run": 0}


@pytest.mark.parametrize("op_type", ["Add", "Tanh", "Identity"])
def test_a_fault_in_a_body_is_named_by_its_node(op_type: str, plant: Plant, tmp_path: Path) -> None:
    """Each of these stands in the Scan's body only."""
    model = graph("scan")
    plant(op_type, "scaled")
    with pytest.raises(NoReferenceError, match=rf"no verdict: {op_type} '"):
        judge(model, [feeds(model)], tmp_path)


@pytest.mark.parametrize("in_a_scan", [False, True])
def test_a_sigmoid_rounds_as_numbers_of_size_1(in_a_scan: bool, tmp_path: Path) -> None:
    """As that of a detector which is sure of silence; ONNX Runtime's is then off by a tenth of it."""
    drawn = Drawn(0)
    y = drawn.node("Sub", drawn.lstm(drawn.time_major("x"), CHANNELS), drawn.constant(np.float32(16)))
    if in_a_scan:
        x_t, y_t = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x_t", "y_t"))
        body = helper.make_graph([helper.make_node("Sigmoid", ["x_t"], ["y_t"])], "body", [x_t], [y_t])
        y = drawn.node("Scan", y, body=body, num_scan_inputs=1)
    else:
        y = drawn.node("Sigmoid", y)
    model = _model(drawn, y)
    assert judge(model, [feeds(model)], tmp_path)["not_held"] == []


def branching() -> onnx.ModelProto:
    """Tanh of an LSTM's answer for series of more than ten steps, else Sigmoid."""
    drawn = Drawn(0)
    y = drawn.lstm(drawn.time_major("x"), CHANNELS)
    steps = drawn.node("Gather", drawn.node("Shape", "x"), drawn.constant(np.array(2)))
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op_type, [y], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op_type in (("then", "Tanh"), ("else", "Sigmoid"))
    }
    answer = drawn.node("If", drawn.node("Greater", steps, drawn.constant(np.array(10))), **branches)
    return _model(drawn, answer)


def _model(drawn: Drawn, answer: str) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", CHANNELS, "time"])
    output = helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)
    made = helper.make_graph(drawn.nodes, "drawn", [x], [output], drawn.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_a_node_is_held_in_the_first_call_that_runs_it(plant: Plant, tmp_path: Path) -> None:
    model = branching()
    assert judge(model, [feeds(model)], tmp_path) == {"held": 7, "not_held": [], "never_run": 1}
    plant("Tanh", "scaled")
    with pytest.raises(NoReferenceError, match="no verdict: Tanh 'then'"):
        judge(model, [feeds(model), feeds(model, time_steps=30)], tmp_path)


@pytest.mark.parametrize(
    "fault", ["scaled", *(pytest.param(f, marks=pytest.mark.slow) for f in FAULTS if f != "scaled")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_any_operator_of_the_evaluator_leaves_no_verdict(
    kind: str, fault: str, plant: Plant, tmp_path: Path
) -> None:
    model = graph(kind)
    for op_type in _operators(model):
        plant(op_type, fault)
        with pytest.raises(NoReferenceError, match=rf"no verdict: {op_type} 'the"):
            judge(model, [feeds(model)], tmp_path)


def test_a_fault_that_only_a_later_call_shows_leaves_no_verdict(plant: Plant, tmp_path: Path) -> None:
    """Every node is held on the first call; here the fault lies where that call does not go."""
    model = graph("conv-norm-lstm")
    real = evaluate

    def short_only(op_type: str, inputs: Sequence[Any], **attributes: Any) -> Any:
        outputs = real(op_type, inputs, **attributes)
        return tuple(output * (1.001 if len(outputs[0]) > 10 else 1) for output in outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_float64, "_recurrent", lambda _, node, *inputs: short_only(node.op_type, inputs))
        with pytest.raises(NoReferenceError, match=r"ONNX Runtime, unoptimised, differs from it in 'lstm\d' by"):
            judge(model, [feeds(model), feeds(model, time_steps=30)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["scaled", "one element"])
def test_a_fault_in_each_claimed_operator_leaves_no_verdict(fault: str, plant: Plant, tmp_path: Path) -> None:
    """On the backend cases as they are made; where ONNX Runtime does not run the node, the case itself tells."""
    counts: Counter[str] = Counter()
    passed = []
    for case in all_cases():
        if case.op_type not in CLAIMED or len(case.model.graph.node) > 1 or "@" in case.name:
            continue
        values = [*case.inputs, *case.outputs]
        plant("", fault)
        if outcome(case)[0] != "right" or not all(isinstance(v, np.ndarray) and v.size for v in values):
            continue
        calls = [{v.name: a for v, a in zip(case.model.graph.input, case.inputs, strict=False)}]
        plant(case.op_type, fault)
        if _same(case, fault):
            continue
        try:
            judge(case.model, calls, tmp_path)
        except NoReferenceError:
            counts["no verdict"] += 1
            continue
        if outcome(case)[0] == "right":
            passed.append((case.name, case.op_type, case.since_version))
        counts["wrong in the case itself"] += 1
    print(fault, dict(counts), passed)
    assert not passed


def _same(case: Any, fault: str) -> bool:
    """Whether the fault changes nothing, such as the sign of 0, or nothing that the case could show."""
    first = np.asarray(case.outputs[0])
    if first.dtype.name in ("float16", "bfloat16"):
        return True  # the case tells no more than a hundredth
    if first.dtype.kind not in "fV":
        return first.dtype.kind in "OUS"
    wide = first.astype(np.float64)
    return np.array_equal(_wrong(fault, wide), wide, equal_nan=True)


@pytest.fixture
def off_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float], Path]:
    """The definition of a runtime that errs in one element, by a part of the output's size."""
    plugins = Path(__file__).parents[1] / "plugins" / "careless_engines"
    monkeypatch.syspath_prepend(str(plugins))
    monkeypatch.setenv("PYTHONPATH", str(plugins), prepend=os.pathsep)

    def off_by(part: float) -> Path:
        path = tmp_path / f"off by {part}.toml"
        path.write_text('engine = "off"\nprecision = "float32"\nthreads = 1\n', encoding="utf-8")
        return path

    return off_by


def _passed(kind: str, seed: int, parts: Sequence[float], off_by: Callable[[float], Path], folder: Path) -> list[bool]:
    onnx.save(graph(kind, seed), folder / "model.onnx")
    bundle = rnnexport.export(folder / "model.onnx", folder / "bundle")
    return [runtime.passed for runtime in verify(bundle.path, [*map(off_by, parts)], grid="quick").runtimes]


def test_a_runtime_that_errs_by_a_thousandth_fails(off_by: Callable[[float], Path], tmp_path: Path) -> None:
    assert _passed("conv-norm-lstm", 0, [0.0, 1e-3], off_by, tmp_path) == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_runtime_that_errs_fails_on_every_kind_of_graph(
    kind: str, seed: int, off_by: Callable[[float], Path], tmp_path: Path
) -> None:
    parts = [0.0, 1e-3, -1e-3, 1e-2, -1e-2, 1.0]
    assert _passed(kind, seed, parts, off_by, tmp_path) == [True, False, False, False, False, False]
