"""What the evaluator claims, it does right in every ONNX backend case; what it does not, it refuses by name."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnnexport.errors import NoReferenceError
from rnnexport.parity.float64.supported_operators import CLAIMED
from rnnexport.parity.onnx_float64 import Float64Model
from tests.parity.backend_cases import all_cases, backend_cases, outcome

SOME = ("batch_normalization", "convtranspose", "gru", "layernormalization", "resize", "softmax", "squeeze")


@pytest.mark.parametrize("module", SOME)
def test_some_operators_are_right_at_every_operator_set(module: str) -> None:
    found = defaultdict(list)
    for case in backend_cases([module]):
        found[case.op_type, case.since_version].append(outcome(case))
    assert not [each for outcomes in found.values() for each in outcomes if each[0] == "wrong"]
    for op_type in {op_type for op_type, _ in found}:
        assert {v for o, v in found if o == op_type} >= {*CLAIMED[op_type]}, op_type


@pytest.mark.slow
def test_all_claims_are_right() -> None:
    right, wrong = set(), []
    for case in all_cases():
        result, why = outcome(case)
        if result == "right":
            right.add((case.op_type, case.since_version))
        elif result == "wrong":
            wrong.append((case.name, why))
    assert not wrong
    assert not {(op_type, v) for op_type, versions in CLAIMED.items() for v in versions} - right


def model(op_type: str, opset: int, *shapes: tuple[int, ...], **attributes: Any) -> onnx.ModelProto:
    """One node on drawn inputs x0, x1 and so on."""
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node(op_type, names, ["y"], name="the node", **attributes)
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "Bernoulli"])
def test_what_is_random_is_refused_by_name(op_type: str) -> None:
    with pytest.raises(NoReferenceError, match=rf"none is proven for {op_type}"):
        Float64Model(model(op_type, 17, (2, 3)))


def test_another_domain_is_refused_by_name() -> None:
    file = model("FusedMatMul", 17, (2, 3), (3, 2))
    file.graph.node[0].domain = "com.microsoft"
    with pytest.raises(NoReferenceError, match=r"FusedMatMul of the domain 'com.microsoft'"):
        Float64Model(file)


def test_what_only_the_inputs_show_to_be_unproven_is_refused_too() -> None:
    file = model("Conv", 17, (1, 1, 2, 2, 2, 2), (1, 1, 1, 1, 1, 1))
    feeds = {"x0": np.ones((1, 1, 2, 2, 2, 2), np.float32), "x1": np.ones((1, 1, 1, 1, 1, 1), np.float32)}
    with pytest.raises(NoReferenceError, match="Conv of 4 spatial axes"):
        Float64Model(file).run(feeds)
