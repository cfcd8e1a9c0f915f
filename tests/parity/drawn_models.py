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

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from tests.graphs import Graph

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
    g, generator, x = Graph(), np.random.default_rng(spec.seed), "X"
    options: dict[str, Any] = {"direction": "bidirectional" if spec.bidirectional else "forward"}
    if spec.cell == "GRU":
        options["linear_before_reset"] = spec.linear_before_reset
    for layer in range(spec.num_layers):
        input_size = spec.input_size if layer == 0 else spec.hidden_size * spec.directions
        weights = [g.constant(a, name=f"{n}{layer}") for n, a in _weights(spec, input_size, generator).items()]
        states = (["h_0", "c_0"] if spec.states else ["", ""])[: 2 if spec.cell == "LSTM" else 1]
        taken = g.op("Transpose", x, perm=[1, 0, 2]) if spec.over_batch else x
        inputs = [taken, *weights, "lengths" if spec.lengths else "", *states]
        outputs = [f"turned{layer}", ""] if spec.over_batch else [f"Y{layer}", f"H{layer}"]
        y, _ = g.op(spec.cell, *inputs, outputs=outputs, hidden_size=spec.hidden_size, **options)
        if spec.over_batch:
            y = g.op("Transpose", y, perm=[2, 1, 0, 3])
        by_batch = g.op("Transpose", y, perm=[0, 2, 1, 3])
        x = g.op("Reshape", by_batch, g.constant([0, 0, -1], np.int64), outputs=[f"out{layer}"])
    state_shape = [spec.directions, "batch", spec.hidden_size]
    shapes: dict[str, Any] = {"X": ["time", "batch", spec.input_size]}
    shapes |= {"lengths": ["batch"]} if spec.lengths else {}
    shapes |= dict.fromkeys(["h_0", "c_0"][: 2 if spec.cell == "LSTM" else 1] if spec.states else [], state_shape)
    given: dict[str, Any] = {x: ["time", "batch", spec.directions * spec.hidden_size]}
    given |= {} if spec.over_batch else {f"H{spec.num_layers - 1}": state_shape}
    return g.model(shapes, given, {"lengths": np.int32})


def _weights(spec: Spec, input_size: int, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    """W, R, B, each put together from one block per direction and gate, in the spec's order."""
    parts: dict[str, list[NDArray[Any]]] = {"W": [], "R": [], "B": []}
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
