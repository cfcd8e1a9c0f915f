"""Drawn recurrent graphs, written gate by gate, so that a test can write one of them wrongly.

Nothing here is shared with what explains a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds

GATES = {"LSTM": "iofc", "GRU": "zrh"}
PYTORCH_GATES = {"LSTM": "ifco", "GRU": "rzh"}
ORT = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)


@dataclass(frozen=True)
class Spec:
    """A stack of recurrent layers on [time, batch, features]."""

    cell: str
    num_layers: int
    bidirectional: bool
    input_size: int
    hidden_size: int
    batch: int
    time: int
    lengths: bool
    states: bool
    linear_before_reset: int = 1
    seed: int = 0
    # what can be written wrongly
    gates: dict[str, str] = field(default_factory=lambda: dict(GATES))
    swap_bias: bool = False
    swap_directions: bool = False
    narrow_weights: bool = False
    over_batch: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1


@st.composite
def specs(draw: st.DrawFn, **fixed: Any) -> Spec:
    """Draw a stack; `fixed` gives values or strategies."""
    drawn = {
        "cell": st.sampled_from(["LSTM", "GRU"]),
        "num_layers": st.integers(1, 2),
        "bidirectional": st.booleans(),
        "input_size": st.integers(2, 4),
        "hidden_size": st.integers(2, 6),
        "batch": st.integers(3, 5),
        "time": st.integers(4, 9),
        "lengths": st.booleans(),
        "states": st.booleans(),
        "linear_before_reset": st.integers(0, 1),
        "seed": st.integers(0, 2**31),
    } | fixed
    return Spec(**{n: draw(v) if isinstance(v, st.SearchStrategy) else v for n, v in drawn.items()})


def build(spec: Spec) -> onnx.ModelProto:
    """The graph: X, and `lengths`, `h_0`, `c_0` where the spec has them → Y of the last layer, and its Y_h."""
    generator = np.random.default_rng(spec.seed)
    nodes, weights = [], []
    x = "X"
    for layer in range(spec.num_layers):
        input_size = spec.input_size if layer == 0 else spec.hidden_size * spec.directions
        for name, array in _weights(spec, input_size, generator).items():
            weights.append(numpy_helper.from_array(array.astype(np.float32), f"{name}{layer}"))
        states = ["h_0", "c_0"] if spec.states else ["", ""]
        taken, given = (f"{x}_turned", f"Y{layer}_turned") if spec.over_batch else (x, f"Y{layer}")
        inputs = [taken, *(f"{n}{layer}" for n in "WRB"), "lengths" if spec.lengths else "", *states]
        if spec.cell == "GRU":
            inputs.pop()
        if spec.over_batch:
            nodes.append(helper.make_node("Transpose", [x], [taken], perm=[1, 0, 2]))
        nodes.append(
            helper.make_node(
                spec.cell,
                inputs,
                [given, "" if spec.over_batch else f"H{layer}"],
                hidden_size=spec.hidden_size,
                direction="bidirectional" if spec.bidirectional else "forward",
                **({"linear_before_reset": spec.linear_before_reset} if spec.cell == "GRU" else {}),
            )
        )
        if spec.over_batch:
            nodes.append(helper.make_node("Transpose", [given], [f"Y{layer}"], perm=[2, 1, 0, 3]))
            nodes.append(helper.make_node("Identity", [f"Y{layer}"], [f"H{layer}"]))
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"T{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"T{layer}", "joined"], [f"out{layer}"]))
        x = f"out{layer}"
    weights.append(numpy_helper.from_array(np.array([0, 0, -1]), "joined"))
    state_shape = [spec.directions, "batch", spec.hidden_size]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["time", "batch", spec.input_size])]
    if spec.lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    if spec.states:
        inputs.append(helper.make_tensor_value_info("h_0", TensorProto.FLOAT, state_shape))
        if spec.cell == "LSTM":
            inputs.append(helper.make_tensor_value_info("c_0", TensorProto.FLOAT, state_shape))
    outputs = [
        helper.make_tensor_value_info(x, TensorProto.FLOAT, ["time", "batch", spec.directions * spec.hidden_size])
    ]
    if not spec.over_batch:
        outputs.append(helper.make_tensor_value_info(f"H{spec.num_layers - 1}", TensorProto.FLOAT, state_shape))
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _weights(spec: Spec, input_size: int, generator: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """W, R, B, each put together from one block per direction and gate, in the spec's order."""
    parts: dict[str, list[NDArray[np.float64]]] = {"W": [], "R": [], "B": []}
    for _ in range(spec.directions):
        blocks = {
            gate: {
                "W": generator.uniform(-1, 1, (spec.hidden_size, input_size)),
                "R": generator.uniform(-1, 1, (spec.hidden_size, spec.hidden_size)),
                "Wb": generator.uniform(-1, 1, spec.hidden_size),
                "Rb": generator.uniform(-1, 1, spec.hidden_size),
            }
            for gate in GATES[spec.cell]
        }
        order = spec.gates[spec.cell]
        for name in "WR":
            parts[name].append(np.concatenate([blocks[gate][name] for gate in order]))
        halves = ["Rb", "Wb"] if spec.swap_bias else ["Wb", "Rb"]
        parts["B"].append(np.concatenate([blocks[gate][half] for half in halves for gate in order]))
    if spec.swap_directions:
        parts = {name: arrays[::-1] for name, arrays in parts.items()}
    stacked = {name: np.stack(arrays).astype(np.float32) for name, arrays in parts.items()}
    return {n: a.astype(np.float16).astype(np.float32) if spec.narrow_weights else a for n, a in stacked.items()}


def draw_feeds(spec: Spec, seed: int) -> dict[str, NDArray[Any]]:
    """Inputs of one call."""
    generator = np.random.default_rng([spec.seed, seed])
    feeds: dict[str, NDArray[Any]] = {
        "X": generator.normal(size=(spec.time, spec.batch, spec.input_size)).astype(np.float32)
    }
    if spec.lengths:
        feeds["lengths"] = np.array([spec.time, 1, *generator.integers(1, spec.time, spec.batch - 2)], np.int32)
    state = (spec.directions, spec.batch, spec.hidden_size)
    for name in ["h_0", "c_0"][: (1 if spec.cell == "GRU" else 2) if spec.states else 0]:
        feeds[name] = generator.normal(size=state).astype(np.float32)
    return feeds


def run(model: onnx.ModelProto, feeds: Feeds, folder: Path, definition: Definition = ORT) -> dict[str, NDArray[Any]]:
    """What a runtime makes of it."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    session = get_engine(definition.engine).load(path, definition)
    try:
        return session.run(feeds)
    finally:
        session.close()


def wrongly(spec: Spec, **changes: Any) -> Spec:
    """The same stack with a fault."""
    return replace(spec, **changes)
