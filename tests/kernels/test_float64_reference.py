"""The float64 reference of `rnnexport::RecurrentStack`, held against another one and against the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import rnnexport
from rnnexport.errors import InputError, NoReferenceError
from rnnexport.linting.lint import lint
from rnnexport.parity import onnx_float64, recurrent_stack
from rnnexport.parity.onnx_float64 import Float64Model, float64_job
from tests.kernels.drawn_stacks import BITS, drawn_stacks
from tests.kernels.recurrent_stack import DrawnStack


@settings(max_examples=settings.default.max_examples // 3)
@given(stack=drawn_stacks(), batch=st.integers(1, 2), extras=st.booleans())
def test_is_what_the_description_says(stack: DrawnStack, batch: int, extras: bool) -> None:
    feeds = stack.feeds(batch, 3, lengths=extras, states=extras)
    actual = Float64Model(stack.model(lengths=extras, states=extras)).run(feeds)
    for name, expected in stack.reference(feeds, rounded=False).items():
        np.testing.assert_allclose(actual[name], expected, atol=1e-12)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("activation_bits", [12, 8])
def test_rounded_activations_are_those_of_the_operator(bits: int, activation_bits: int) -> None:
    stack = DrawnStack("gru", num_layers=2, weight_bits=bits, activation_bits=activation_bits)
    feeds = stack.feeds(2, 3)
    constants = [stack.weights, stack.scales.astype(np.float64), stack.biases.astype(np.float64)]
    given_x = feeds["X"].astype(np.float64)
    y, _ = recurrent_stack.rounded_stack([given_x, *constants], stack.attributes())
    np.testing.assert_allclose(y, stack.reference(feeds)["Y"], atol=1e-6)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two layers, the candidate gate in float32."""
    path = tmp_path / "model.onnx"
    onnx.save(STACK.model(states=True), path)
    return path


STACK = DrawnStack("gru", linear_before_reset=1, num_layers=2, hidden_size=16, weight_bits=(8, 8, 32, 8, 4, 32))


def judged(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and facts of one call."""
    ((outputs, facts),) = float64_job({"model": str(path)}, iter([STACK.feeds(2, 6, states=True)]))
    return outputs, facts


def test_is_held_against_the_operator(package: Path, file: Path) -> None:
    outputs, facts = judged(file)
    assert facts == {"held": 1, "not_held": [], "never_run": 0}
    error = np.abs(outputs["float32/Y"] - outputs["float64/Y"]).max()
    assert 1e-6 < error < 2e-3  # activations of 12 bits


def test_a_wrong_reading_of_the_file_is_noticed(package: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = recurrent_stack.evaluate_stack

    def wrong(inputs: Any, attributes: Any, *recurrent: Any) -> Any:
        return right(inputs, {**attributes, "linear_before_reset": 0}, *recurrent)

    for module in (onnx_float64, recurrent_stack):
        monkeypatch.setattr(module, "evaluate_stack", wrong)
    with pytest.raises(NoReferenceError, match="RecurrentStack 'stack' differs from ONNX Runtime's"):
        judged(file)


@pytest.mark.parametrize("tensor", [0, 1])
@pytest.mark.parametrize("change", [-1, 1])
def test_constants_that_do_not_fit_are_an_error(file: Path, tensor: int, change: int) -> None:
    model = onnx.load(file)
    array = onnx.numpy_helper.to_array(model.graph.initializer[tensor])
    other = np.append(array, array[:1]) if change > 0 else array[:-1]
    model.graph.initializer[tensor].CopyFrom(onnx.numpy_helper.from_array(other, model.graph.initializer[tensor].name))
    with pytest.raises(InputError, match="weights or scales hold"):
        Float64Model(model).run(STACK.feeds(2, 6, states=True))


def test_a_newer_version_has_no_reference(file: Path) -> None:
    model = onnx.load(file)
    model.graph.node[0].attribute.append(helper.make_attribute("version", 2))
    with pytest.raises(NoReferenceError, match="RecurrentStack of version 2"):
        Float64Model(model).run(STACK.feeds(2, 6, states=True))


@pytest.mark.slow
def test_a_file_with_the_operator_is_verified_and_linted(package: Path, file: Path, tmp_path: Path) -> None:
    rnnexport.export(file, tmp_path / "bundle")
    report = rnnexport.verify(tmp_path / "bundle", ["ort-cpu"], grid="quick")
    assert report.passed
    linted = lint(file)
    assert linted.layers == 1
    assert not linted.unknown_operators
