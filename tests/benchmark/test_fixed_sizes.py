"""Files that fix a size, or say none, are exported and measured at the sizes that they have."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rnnexport
from rnnexport.benchmark.fixed_sizes import shapes_for
from rnnexport.benchmark.throughput import throughput
from rnnexport.bundle.bundle import reference_bundles
from rnnexport.errors import InputError

INPUTS, HIDDEN = 4, 8


def lstm_file(path, shape):
    """LSTM → Squeeze, whose output has no declared shape; -1 is written as Paddle does."""
    generator = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(0.3 * generator.normal(size=(1, 4 * HIDDEN, size)).astype(np.float32), name)
        for name, size in (("W", INPUTS), ("R", HIDDEN))
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    for size, dimension in zip(shape, x.type.tensor_type.shape.dim, strict=True):
        if size == -1:
            dimension.dim_value = -1
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R"], ["Y"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [*weights, numpy_helper.from_array(np.array([1]), "one")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("shape", "batch_size", "time_steps"),
    [
        ([10, "batch", INPUTS], 1, 10),
        pytest.param([10, 2, INPUTS], 2, 10, marks=pytest.mark.slow),
        ([-1, -1, INPUTS], 1, 25),
    ],
    ids=str,
)
def test_a_file_of_fixed_or_unnamed_sizes_is_measured_at_its_own(shape, batch_size, time_steps, tmp_path):
    bundle = rnnexport.export(lstm_file(tmp_path / "lstm.onnx", shape), out=tmp_path / "bundle")
    (output,) = bundle.manifest.outputs
    assert len(output.shape) == 3
    report = rnnexport.bench([bundle.path], runtimes=["ort-cpu"], seconds=0.05, repetitions=1)
    (row,) = report.measurements
    assert (row.batch_size, row.time_steps, row.failure) == (batch_size, time_steps, None)


def test_what_the_user_asks_for_is_not_replaced():
    bundle = rnnexport.load(reference_bundles()[0]).bundle
    assert [(shape.batch_size, shape.time_steps) for shape in shapes_for(bundle, [2], [3, 4])] == [(2, 3), (2, 4)]


def test_another_size_than_the_file_fixes_is_refused(tmp_path):
    bundle = rnnexport.export(lstm_file(tmp_path / "lstm.onnx", [10, 2, INPUTS]), out=tmp_path / "bundle")
    with pytest.raises(InputError, match=r"fixes `batch_size=2`, so it cannot be 8; leave it out"):
        shapes_for(bundle, [2, 8], [])
    with pytest.raises(InputError, match=r"fixes `time_steps=10`, so it cannot be 3; leave it out"):
        shapes_for(bundle, [], [3])


@pytest.mark.slow
def test_throughput_of_a_file_of_fixed_sizes_is_that_of_its_own(tmp_path):
    bundle = rnnexport.export(lstm_file(tmp_path / "lstm.onnx", [10, 2, INPUTS]), out=tmp_path / "bundle")
    report = throughput([bundle.path], runtimes=["ort-cpu"], seconds=0.05, repetitions=1)
    assert [(row.batch_size, row.time_steps, row.failure) for row in report.measurements] == [(2, 10, None)]
