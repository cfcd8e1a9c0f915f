"""The commands of docs/how-to/optimize.md work as pasted."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.cli import main
from rnnexport.onnx_files.reading import read_model
from rnnexport.passes.step import StepGraph
from tests.graphs import Graph

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/how-to/optimize.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", DOCUMENT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = read_model(reference_bundles()[1] / "model.onnx")
    ir.save(model, "model.onnx")
    np.savez("sample.npz", x=np.ones((2, 5, 12), np.float32), lengths=np.array([5, 3]))
    if "step.onnx" in command:
        # the head of the bundle needs the whole series; a step graph of the layer alone does not
        write_step("step.onnx")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    onnx.checker.check_model(onnx.load(command.split()[-1]), full_check=True)


def write_step(path):
    """X [time, batch, 12] → GRU of the bundle → Y."""
    weights = read_model(reference_bundles()[1] / "model.onnx").graph.initializers
    given = [weights[f"rnn.layer0.{letter}"].const_value.numpy() for letter in "WRB"]
    g = Graph()
    for array, letter in zip(given, "WRB", strict=True):
        g.constant(array, name=letter)
    g.op("GRU", "x", *"WRB", outputs=["y"], name="gru", hidden_size=64, linear_before_reset=1)
    model = ir.from_proto(g.model({"x": ["time", "batch", 12]}, {"y": ["time", 1, "batch", 64]}, ir_version=10))
    StepGraph()(model)
    ir.save(model, path)
