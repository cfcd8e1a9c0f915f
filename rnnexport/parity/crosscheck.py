"""Is the float64 reference itself right, on this file? Each node is held against ONNX Runtime's, on the same inputs.

1. A node takes what it takes in the reference, rounded to float32, and so do its bodies. ONNX Runtime, unoptimised,
   runs it alone. So an error is seen where it is made, at its full size, and nothing before it matters.
2. Both may differ by what rounding explains: ROUNDINGS times the sum of half a unit in the last place of the largest
   output, or of 1 where there is a sigmoid, and of what the node makes of a change of its inputs by one unit in the
   last place, at that element or at a quarter of all. Long sums in float32 are that much worse than one rounding; an
   operator that is wrong is wrong by more, and elsewhere than where it jumps.
3. Where ONNX rounds to integers, one unit more or less is rounding, too, in a few elements.
4. A node is held in the first call that runs it; one in a body the first two times that it runs there, and all its
   runs as part of the If, Loop or Scan.
5. A node that ONNX Runtime does not run, that takes or gives sequences, or whose inputs are not finite, is not held;
   it rests on the backend cases alone.
"""

from __future__ import annotations

import tempfile
from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.errors import EngineError, RuntimeUnavailableError
from rnnexport.onnx_files.operators import STACK, STACK_DOMAIN
from rnnexport.parity.compare import differences
from rnnexport.parity.float64.graph import Graph, Step
from rnnexport.parity.float64.widening import wide, with_floats
from rnnexport.parity.recurrent_stack import rounded_stack
from rnnexport.parity.rounding import HALF_UNIT, SMALLEST, to_float32, within_a_unit

if TYPE_CHECKING:
    import onnx

_UNOPTIMISED = Definition(
    name="unoptimised",
    engine="onnxruntime",
    precision="float32",
    threads=1,
    options={"graph_optimization_level": "disabled"},
)
_EXACT_PRODUCTS = _UNOPTIMISED.model_copy(update={"options": {"graph_optimization_level": "extended"}})
"""Products of 8 bits saturate on CPUs without VNNI; what mends it is an optimisation, and asks for constant weights."""
_PRODUCTS_OF_8_BITS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")
ROUNDINGS = 128
_ROUND_TO_INTEGERS = ("DynamicQuantizeLinear", "QuantizeLinear", "QLinearConv", "QLinearMatMul")
_FEW = 0.02
_AROUND_A_HALF = ("GRU", "LSTM", "RNN", "Sigmoid", STACK)
_FLOAT = 1
_RUNS = 2
"""Of a node in a body that are held."""
_ROUNDED_OTHERWISE = 4
"""How much more than one way to round activations another may change an output."""


class CrossCheck:
    """Sees the nodes of a graph while it is evaluated; a `graph.Watch`."""

    def __init__(self, opset: int) -> None:
        self.found: list[str] = []
        """Of each node that differs, a sentence."""
        self.not_held: set[str] = set()
        """Operators of which some node was not held."""
        self.held = 0
        self.runs = _RUNS
        """Of a node in a body that are held; 1 holds what has not run yet."""
        self._opset = opset
        self._sessions: dict[bytes, Session | None] = {}
        self._runs: Counter[int] = Counter()
        self._generator = np.random.default_rng(0)

    def __call__(
        self, step: Step, inputs: Sequence[Any], scope: Mapping[str, Any], outputs: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Hold a node; the outputs go on as they are."""
        self._runs[id(step)] += 1
        if self._runs[id(step)] > self.runs:
            return outputs
        captured = {name: scope[name] for name in sorted(step.captured)}
        values = [*inputs, *captured.values()]
        if not all(v is None or isinstance(v, np.ndarray) for v in (*values, *outputs)) or not _finite(values):
            self.not_held.add(step.node.op_type)
            return outputs
        actual = self._run(step, inputs, captured)
        if actual is None:
            self.not_held.add(step.node.op_type)
            return outputs
        expected = self._evaluate(step, inputs, captured, scope, to_float32)
        moved = self._evaluate(step, inputs, captured, scope, self._moved)
        jumps = _jumps(step, inputs, expected)
        self.held += self._runs[id(step)] == 1
        named = [i for i, name in enumerate(step.node.outputs) if name]
        for found, i in zip(actual, named, strict=True):
            if problem := _problem(step, found, expected[i], moved[i], jumps[i]):
                self.found.append(f"{step.name} {problem}")
                break
        return outputs

    def never_run(self, graph: Graph) -> int:
        """How many nodes it has not seen, in branches that no call takes."""
        inside = sum(self.never_run(body) for step in graph.steps for body in step.bodies.values())
        return inside + sum(id(step) not in self._runs for step in graph.steps)

    def _evaluate(
        self,
        step: Step,
        inputs: Sequence[Any],
        captured: Mapping[str, Any],
        scope: Mapping[str, Any],
        change: Any,
    ) -> tuple[Any, ...]:
        taken = {name: _changed(value, change) for name, value in captured.items()}
        return step.run([_changed(value, change) for value in inputs], ChainMap(taken, scope))  # type: ignore[arg-type]

    def _moved(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return within_a_unit(to_float32(x), self._generator)

    def _run(self, step: Step, inputs: Sequence[Any], captured: Mapping[str, Any]) -> list[NDArray[Any]] | None:
        """What ONNX Runtime gives; nothing where it does not run the node."""
        given = {f"x{i}": value for i, value in enumerate(inputs) if value is not None} | {**captured}
        feeds = {name: _narrow(value) for name, value in given.items()}
        names = [name for name in feeds if step.node.op_type in _PRODUCTS_OF_8_BITS and name != "x0"]
        if step.node.op_type == STACK:
            names = [name for name in ("x1", "x2", "x3") if name in feeds]
        constants = {name: feeds.pop(name) for name in names}
        model = _alone(step, feeds, constants, self._opset)
        key = model.SerializeToString(deterministic=True)
        if key not in self._sessions:
            self._sessions[key] = _load(model)
        session = self._sessions[key]
        outputs = None if session is None else run_unoptimised(session, feeds)
        return None if outputs is None else list(outputs.values())


def _alone(
    step: Step, feeds: Mapping[str, NDArray[Any]], constants: Mapping[str, NDArray[Any]], opset: int
) -> onnx.ModelProto:
    """A model of one node, the same for all nodes that do the same."""
    from onnx import TypeProto, helper, numpy_helper

    node = with_floats(step.node.proto, _FLOAT)
    node.name = ""
    given = {*feeds, *constants}
    node.input[:] = [f"x{i}" if f"x{i}" in given else "" for i in range(len(node.input))]
    node.output[:] = [f"y{i}" if name else "" for i, name in enumerate(node.output)]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
        for name, array in feeds.items()
    ]
    outputs = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "node", inputs, outputs, tensors)
    versions = [helper.make_opsetid("", opset)]
    if node.domain == STACK_DOMAIN:
        versions.append(helper.make_opsetid(STACK_DOMAIN, 1))
    return helper.make_model(graph, opset_imports=versions, ir_version=8)


def load_unoptimised(path: Path) -> Session | None:
    """Load a file in ONNX Runtime, unoptimised but for products of 8 bits; nothing where it refuses the file."""
    import onnx

    operators = _operators(onnx.load(path, load_external_data=False).graph)
    definition = _UNOPTIMISED if operators.isdisjoint(_PRODUCTS_OF_8_BITS) else _EXACT_PRODUCTS
    try:
        return get_engine(definition.engine).load(path, definition)
    except (EngineError, RuntimeUnavailableError):
        return None


def _operators(graph: onnx.GraphProto) -> set[str]:
    """Those of bodies, too."""
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return {node.op_type for node in graph.node}.union(*map(_operators, inner))


def run_unoptimised(session: Session, feeds: Feeds) -> Feeds | None:
    """Run it; nothing where it fails."""
    try:
        return session.run(feeds)
    except EngineError:
        return None


def _load(model: onnx.ModelProto) -> Session | None:
    import onnx

    with tempfile.TemporaryDirectory(prefix="rnnexport-") as folder:
        path = Path(folder) / "node.onnx"
        onnx.save(model, path)
        return load_unoptimised(path)


def _jumps(step: Step, inputs: Sequence[Any], expected: Sequence[NDArray[Any]]) -> list[float]:
    """What else each output may differ by, since a stack of layers rounds activations and the reference does not."""
    if step.node.op_type != STACK:
        return [0.0] * len(expected)
    rounded = rounded_stack(inputs, step.node.attributes)
    pairs = zip(rounded, expected, strict=True)
    return [_ROUNDED_OTHERWISE * float(differences(a, b).max(initial=0)) for a, b in pairs]


def _problem(step: Step, actual: NDArray[Any], expected: NDArray[Any], moved: NDArray[Any], jump: float) -> str | None:
    """What is wrong with one output, as the rest of a sentence."""
    if actual.shape != expected.shape:
        return f"gives {list(expected.shape)}, ONNX Runtime's {list(actual.shape)}"
    if actual.dtype.kind not in "fiub" or actual.size == 0:
        return None if np.array_equal(actual, expected) else "gives another value than ONNX Runtime's"
    difference = differences(actual, _changed(expected, to_float32))
    allowed = _allowed(actual, expected, moved, least_size([step])) + jump
    wrong = difference > allowed
    if actual.dtype.kind != "f" and step.node.op_type in _ROUND_TO_INTEGERS and wrong.mean() <= _FEW:
        wrong = difference > 1
    if not wrong.any():
        return None
    worst = np.unravel_index(int(np.argmax(difference - allowed)), difference.shape)
    at = [int(i) for i in worst]
    return (
        f"differs from ONNX Runtime's by {difference[worst]:.2g} at {at}, where rounding explains {allowed[worst]:.2g}"
    )


def least_size(steps: Sequence[Step]) -> float:
    """What the rounding of nodes is relative to where their outputs are smaller.

    ONNX Runtime computes 1 / (1 + exp(-x)) as a half and more or less: it errs as numbers of size 1 do, also where the
    result is 1e-6.
    """
    inside = [step for each in steps for body in each.bodies.values() for step in body.steps]
    if any(step.node.op_type in _AROUND_A_HALF for step in steps):
        return 1.0
    return least_size(inside) if inside else 0.0


def _allowed(actual: NDArray[Any], expected: NDArray[Any], moved: NDArray[Any], least: float) -> NDArray[np.float64]:
    """How much of a difference rounding explains, for each element."""
    if actual.dtype.kind != "f":
        return np.zeros(actual.shape)
    change = differences(moved, expected) if moved.shape == expected.shape else np.zeros(expected.shape)
    change = np.where(np.isfinite(change), change, 0)
    size = float(np.abs(expected[np.isfinite(expected)]).max(initial=least))
    return np.asarray(ROUNDINGS * (SMALLEST + size * HALF_UNIT + np.maximum(change, np.quantile(change, 0.25))))


def _narrow(value: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return value.astype(np.float32) if value.dtype == np.float64 else value


def _changed(value: Any, change: Any) -> Any:
    return wide(change(value)) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def _finite(values: Sequence[Any]) -> bool:
    return all(v is None or v.dtype != np.float64 or bool(np.isfinite(to_float32(v)).all()) for v in values)
