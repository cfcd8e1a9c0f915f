"""Captures a module, runs the graph in each runtime and holds it against the module in float64."""

import copy
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch.utils._pytree import tree_leaves

from rnnexport.capture import capture, parse_input_spec
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition

SIZES = [(1, 1), (1, 9), (4, 1), (3, 7), (2, 13)]
"""Batch and time, none of them what `capture` traces with."""
VOCABULARY = 10


def feeds_for(specs, batch, time, seed=0, **fixed):
    """Random inputs: tokens below VOCABULARY, lengths from 1 to `time` with the longest series first, normal floats."""
    generator = np.random.default_rng([seed, batch, time])
    sizes = {"batch": batch, "time": time, **fixed}

    def draw(spec):
        shape = [sizes.get(d, d) for d in spec.shape]
        if spec.name == "lengths":
            return np.sort(np.append(generator.integers(1, time + 1, batch - 1), time))[::-1].astype(spec.dtype)
        if spec.dtype == "bool" or "int" in spec.dtype:
            return generator.integers(0, 2 if spec.dtype == "bool" else VOCABULARY, shape).astype(spec.dtype)
        return generator.normal(size=shape).astype(spec.dtype)

    return {spec.name: draw(spec) for spec in specs}


def outputs_of(module, feeds, dtype):
    """The module's own outputs, in `dtype`, as a list of float64 arrays."""
    twin = copy.deepcopy(module).to(dtype).eval()
    tensors = [torch.from_numpy(array) for array in feeds.values()]
    arguments = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    with torch.no_grad():
        return [np.asarray(tensor.double()) for tensor in tree_leaves(twin(*_grouped(feeds, arguments)))]


def _grouped(feeds, arguments):
    """`hx.0` and `hx.1` are one tuple."""
    groups = {}
    for name, argument in zip(feeds, arguments, strict=True):
        groups.setdefault(name.partition(".")[0], []).append((name, argument))
    return [items[0][1] if "." not in items[0][0] else tuple(a for _, a in items) for items in groups.values()]


def assert_runs_like(module, captured, specs, engines, sizes=SIZES, floor=2e-6):
    """Every output within max(floor, 4 × PyTorch's own float32 error) of the float64 module; also on a second call."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        ir.save(captured.model, path)
        for engine in engines:
            session = get_engine(engine).load(
                path, Definition(name=engine, engine=engine, precision="float32", threads=1)
            )
            for batch, time in [*sizes, sizes[-1]]:
                feeds = feeds_for(specs, batch, time)
                actual = list(session.run(feeds).values())
                expected = outputs_of(module, feeds, torch.float64)
                rounded = outputs_of(module, feeds, torch.float32)
                assert [a.shape for a in actual] == [e.shape for e in expected]
                for a, e, r in zip(actual, expected, rounded, strict=True):
                    tolerance = max(floor, 4 * np.abs(r - e).max(initial=0))
                    np.testing.assert_allclose(a, e, rtol=0, atol=tolerance, err_msg=f"{engine} {batch}x{time}")
            session.close()


@pytest.fixture(scope="session")
def check():
    """Capture a module with inputs like `x:float32[batch,time,5]` and compare it in the runtimes."""

    def check(module, *inputs, engines=("onnxruntime", "openvino"), sizes=SIZES, **options):
        specs = [parse_input_spec(text) for text in inputs]
        captured = capture(module, specs, **options)
        assert_runs_like(module, captured, specs, engines, sizes)
        return captured

    return check


@pytest.fixture(scope="session")
def run_like():
    """Compare a captured graph with its module."""
    return assert_runs_like


@pytest.fixture(scope="session")
def ops():
    """The operators of a captured graph."""
    return lambda captured: [node.op_type for node in captured.model.graph]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
