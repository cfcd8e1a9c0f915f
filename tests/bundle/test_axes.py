"""Which axis is the batch and which is time: found once, kept in the manifest, and found for manifests that lack it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from rnnexport.bundle.axes import find_input_axes
from rnnexport.bundle.bundle import load_bundle, reference_bundles
from rnnexport.bundle.manifest import TensorInfo
from rnnexport.bundle.manifest_file import parse_manifest
from rnnexport.exporting.writing import input_infos, output_infos
from tests.graphs import Graph

MANIFEST = reference_bundles()[1] / "manifest.json"


def tensor(name: str, *shape: int | str, role: str = "features", **more: Any) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape, "role": role, **more}


def test_a_manifest_of_schema_1_says_its_axes_by_the_names_of_dimensions() -> None:
    assert json.loads(MANIFEST.read_text())["schema_version"] == 1
    manifest = load_bundle(MANIFEST.parent).manifest
    x, lengths = manifest.inputs
    assert (x.batch_axis, x.time_axis) == (0, 1)
    assert (lengths.batch_axis, lengths.time_axis, lengths.counted_dimension) == (0, None, "time")
    assert (manifest.outputs[0].batch_axis, manifest.outputs[0].time_axis) == (0, None)


def test_a_step_graph_of_schema_1_said_its_dimensions_once_for_all_tensors() -> None:
    document = json.loads(MANIFEST.read_text())
    sides = {
        "inputs": [tensor("x", "steps", "streams", 12), tensor("h_0", 1, "streams", 8, role="state")],
        "outputs": [tensor("h_n", 1, "streams", 8, role="output")],
    }
    document["step"] = {**sides, "time_dimension": "steps", "batch_dimension": "streams"}
    document["files"]["step.onnx"] = ""
    document["inputs"][1]["time_axis"] = "time"
    manifest = parse_manifest(Path(), json.dumps(document).encode())
    assert manifest.inputs[1].counted_dimension == "time"
    step = manifest.step
    assert step is not None
    assert [(info.batch_axis, info.time_axis) for info in step.inputs] == [(1, 0), (1, None)]
    assert (step.batch_dimension, step.time_dimension) == ("streams", "steps")
    assert parse_manifest(Path(), manifest.model_dump_json().encode()) == manifest


@pytest.mark.parametrize("axes", [{"batch_axis": 3}, {"time_axis": 2}, {"batch_axis": 1, "time_axis": 1}])
def test_an_axis_that_a_tensor_cannot_have_is_refused(axes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"axes .* are none of|is of one size"):
        TensorInfo.model_validate(tensor("x", "batch", "time", 3, **axes))


def test_dimensions_with_other_names_are_known_from_the_recurrent_layer() -> None:
    g = Graph(opset=20)
    y = g.op("GRU", "x", *g.weights("GRU", 3, 4, ["W", "R"]), hidden_size=4)
    g.op("Squeeze", y, g.constant([1], np.int64), outputs=["y"])
    graph = ir.from_proto(g.model({"x": ["steps", "rows", 3]}, {"y": ["steps", "rows", 4]}))
    (x,) = inputs = input_infos(graph)
    (found,) = output_infos(graph, inputs)
    assert (x.batch_axis, x.time_axis) == (found.batch_axis, found.time_axis) == (1, 0)


def test_lengths_count_the_only_dimension_that_is_not_the_batch() -> None:
    x, lengths = find_input_axes(
        [
            TensorInfo.model_validate(tensor("x", "rows", "steps")),
            TensorInfo.model_validate(tensor("n", "rows", role="lengths")),
        ]
    )
    assert (x.batch_axis, x.time_axis, lengths.counted_dimension) == (0, 1, "steps")
