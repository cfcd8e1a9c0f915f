"""Runtimes of ONNX Runtime run files with the operator, and say what is missing where the package is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rnnexport.engines import onnxruntime as engine_module
from rnnexport.errors import EngineError, RuntimeUnavailableError
from rnnexport.runtime.definitions import load_definition
from tests.kernels.recurrent_stack import DrawnStack

STACK = DrawnStack("gru", weight_bits=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model of one stack."""
    onnx.save(STACK.model(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_the_engine_registers_the_operator_by_itself(package: Path, file: Path) -> None:
    feeds = STACK.feeds(2, 3)
    answer = engine_module.OnnxRuntimeEngine().load(file, load_definition("ort-cpu")).run(feeds)
    np.testing.assert_allclose(answer["Y"], STACK.reference(feeds)["Y"], atol=2e-3)


def test_a_missing_package_is_named_with_its_remedy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "entry_points", lambda group: ())
    with pytest.raises(RuntimeUnavailableError, match="rnnexport-kernels, which is not installed; run"):
        engine_module.OnnxRuntimeEngine().load(file, load_definition("ort-cpu"))


def test_a_malformed_node_is_told_in_the_words_of_the_operator(package: Path, file: Path) -> None:
    model = STACK.model()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].dims[:] = [0]
    onnx.save(model, file)
    with pytest.raises(EngineError, match="weights has 0 bytes: these attributes take"):
        engine_module.OnnxRuntimeEngine().load(file, load_definition("ort-cpu"))
