"""A whole ONNX graph in float64, operator by operator: the reference where there is no PyTorch source.

1. Recurrent nodes are computed by `operators`, straight from the specification; onnx's own reference evaluator ignores
   `sequence_lens`. All other operators are onnx's reference implementation.
2. Every float32, float16 and bfloat16 constant, cast and attribute becomes float64, in sub-graphs too.
3. An `Alteration` computes the graph with one thing done differently, to see whether that explains a wrong answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError
from rnnexport.parity.operators import Arithmetic, Rounding, evaluate
from rnnexport.parity.rounding import to_float32

if TYPE_CHECKING:
    import onnx

_NARROW_TYPES = (1, 10, 16)  # TensorProto.FLOAT, FLOAT16, BFLOAT16
_DOUBLE = 11
_OWN_DOMAIN = "rnnexport"
_TYPE_ATTRIBUTES = ("to", "dtype")


def _unchanged(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x


@dataclass(frozen=True, slots=True)
class Alteration:
    """What is computed otherwise than the operator specification says; by default nothing."""

    recurrent: Callable[..., tuple[NDArray[np.float64], ...]] = evaluate
    """Takes what `operators.evaluate` takes."""
    operand: Rounding = _unchanged
    """Of both operands of MatMul, Gemm and Conv."""
    constant: Rounding = _unchanged
    """Of every floating-point constant."""
    value: Rounding = _unchanged
    """Of every floating-point input of the graph and output of a node outside sub-graphs."""


def everything_in(rounding: Rounding) -> Alteration:
    """Every constant, operand and value rounded; sums stay wide."""
    return Alteration(partial(evaluate, arithmetic=Arithmetic(rounding, rounding)), rounding, rounding, rounding)


class Float64Model:
    """An ONNX graph, ready to be evaluated.

    Args:
        source: A file, whose external data is read, too; or a model, which is not changed.
        extra_outputs: Values inside the graph to return as well.
        alteration: What to compute differently.
        altered_node: The only recurrent node, by its first output, that `alteration.recurrent` is for; default: all.

    Raises:
        InputError: The file cannot be read, or holds an operator that the evaluator lacks.
    """

    def __init__(
        self,
        source: Path | onnx.ModelProto,
        extra_outputs: Sequence[str] = (),
        alteration: Alteration = Alteration(),
        altered_node: str | None = None,
    ) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        self._constants: dict[str, NDArray[Any]] = {}
        self._name = source.name if isinstance(source, Path) else "the graph"
        try:
            model = onnx.ModelProto()
            if isinstance(source, Path):
                model = onnx.load(source, load_external_data=False)
                self._constants = _external_constants(source, model, alteration.constant)
            else:
                model.CopyFrom(source)
            for name in extra_outputs:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
            _widen_graph(model.graph, alteration.constant)
            if alteration.value is not _unchanged:
                _round_values(model)
            self._evaluator = ReferenceEvaluator(model, new_ops=_operators(alteration, altered_node))
        except Exception as exc:  # the evaluator raises what comes
            raise InputError(f"{self._name} cannot be evaluated in float64: {_first_line(exc)}") from exc
        self.outputs = [value.name for value in model.graph.output]

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Return all outputs, floating-point ones as float64.

        Raises:
            InputError: An operator fails on these feeds.
        """
        wide = {name: _wide(array) for name, array in feeds.items()}
        try:
            with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are values like others here
                results = self._evaluator.run(None, wide | self._constants)
        except Exception as exc:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise InputError(f"{self._name} cannot be evaluated with {shapes}: {_first_line(exc)}") from exc
        return {name: np.asarray(result) for name, result in zip(self.outputs, results, strict=True)}


def _external_constants(path: Path, model: Any, constant: Rounding) -> dict[str, NDArray[Any]]:
    """Take the constants that lie beside the file out of the graph, as arrays; a message of over 2 GB is no message."""
    import onnx
    import onnx_ir
    from onnx.external_data_helper import load_external_data_for_model, uses_external_data

    outside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    if not outside:
        return {}
    constants = {name: value.const_value for name, value in onnx_ir.load(path).graph.initializers.items()}
    inputs = {value.name for value in model.graph.input}
    for tensor in outside:
        model.graph.initializer.remove(tensor)
        if tensor.name not in inputs:
            model.graph.input.append(onnx.ValueInfoProto(name=tensor.name))
    load_external_data_for_model(model, str(path.parent))  # of the bodies of If, Loop and Scan
    names = {tensor.name for tensor in outside}
    arrays = {n: _wide(np.asarray(t.numpy())) for n, t in constants.items() if n in names and t is not None}
    return {n: constant(a) if np.issubdtype(a.dtype, np.floating) else a for n, a in arrays.items()}


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    is_float = np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"
    return array.astype(np.float64) if is_float else array


def _first_line(exc: Exception) -> str:
    return f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0]}"


def _widen_graph(graph: Any, constant: Rounding) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor, constant)
    for node in graph.node:
        for attribute in node.attribute:
            _widen_attribute(attribute, constant)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type in _NARROW_TYPES:
            value.type.tensor_type.elem_type = _DOUBLE


def _widen_attribute(attribute: Any, constant: Rounding) -> None:
    for tensor in [attribute.t, *attribute.tensors]:
        _widen_tensor(tensor, constant)
    for graph in [attribute.g, *attribute.graphs]:
        _widen_graph(graph, constant)
    if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _NARROW_TYPES:
        attribute.i = _DOUBLE


def _widen_tensor(tensor: Any, constant: Rounding) -> None:
    from onnx import numpy_helper

    if tensor.data_type in _NARROW_TYPES:
        wide = constant(numpy_helper.to_array(tensor).astype(np.float64))
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _round_values(model: Any) -> None:
    """Put a node of the operator `Rounded` behind every input and node."""
    from onnx import helper

    nodes = []
    for node in model.graph.node:
        node.input[:] = [_rounded(name) if name in {i.name for i in model.graph.input} else name for name in node.input]
        wide = [f"{name}/wide" if name else "" for name in node.output]
        rounding = [
            helper.make_node("Rounded", [before], [after], domain=_OWN_DOMAIN)
            for before, after in zip(wide, node.output, strict=True)
            if after
        ]
        node.output[:] = wide
        nodes += [node, *rounding]
    inputs = [helper.make_node("Rounded", [i.name], [_rounded(i.name)], domain=_OWN_DOMAIN) for i in model.graph.input]
    del model.graph.node[:]
    model.graph.node.extend([*inputs, *nodes])
    model.opset_import.append(helper.make_opsetid(_OWN_DOMAIN, 1))


def _rounded(name: str) -> str:
    return f"{name}/rounded"


def _operators(alteration: Alteration, altered_node: str | None) -> list[type]:
    """Operators in the form that onnx's evaluator takes, in place of its own."""
    recurrent = [_recurrent_operator(name, alteration, altered_node) for name in ("LSTM", "GRU", "RNN")]
    if alteration.value is not _unchanged:
        recurrent.append(_rounding_operator(alteration.value))
    if alteration.operand is not _unchanged:
        recurrent += [_product_operator(name, alteration.operand) for name in ("MatMul", "Gemm", "Conv")]
    return recurrent


def _recurrent_operator(op_type: str, alteration: Alteration, altered_node: str | None) -> type:
    """A class of the operator's name."""
    from onnx.reference.op_run import OpRun

    def run(self: Any, *inputs: Any, **_: Any) -> tuple[NDArray[Any], ...]:
        from onnx import helper

        node = self.onnx_node
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        decoded = {name: _decoded(value) for name, value in attributes.items() if name != "output_sequence"}
        altered = altered_node is None or altered_node in node.output
        results = (alteration.recurrent if altered else evaluate)(op_type, [*inputs], **decoded)
        return results[: len(node.output)]

    return type(op_type, (OpRun,), {"op_domain": "", "_run": run})


def _rounding_operator(rounding: Rounding) -> type:
    from onnx.reference.op_run import OpRun

    def run(_: Any, x: Any) -> tuple[NDArray[Any]]:
        return (rounding(x) if np.issubdtype(np.asarray(x).dtype, np.floating) else x,)

    return type("Rounded", (OpRun,), {"op_domain": _OWN_DOMAIN, "_run": run})


def _product_operator(op_type: str, operand: Rounding) -> type:
    """Onnx's own operator, of rounded operands."""
    module = importlib.import_module(f"onnx.reference.ops.op_{op_type.lower()}")
    version = {"Gemm": "Gemm_7"}.get(op_type, op_type)
    base = getattr(module, version)

    def run(self: Any, first: Any, second: Any, *rest: Any, **attributes: Any) -> Any:
        return base._run(self, operand(first), operand(second), *rest, **attributes)

    return type(op_type, (base,), {"op_domain": "", "_run": run})


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def float64_job(
    arguments: dict[str, Any], cases: Iterator[Feeds]
) -> Iterator[tuple[dict[str, NDArray[Any]], dict[str, Any]]]:
    """Worker job: the graph in float64, as `float64/NAME`, and in float32, as `float32/NAME`.

    Float32 is the worse of two: ONNX Runtime unoptimised, and the evaluator with everything rounded. Either alone may
    happen to be unusually exact, and would then condemn a runtime that is as exact as float32 can be expected to be.
    """
    from rnnexport.engines import get_engine
    from rnnexport.engines.contract import Definition

    path = Path(arguments["model"])
    model = Float64Model(path)
    options = {"graph_optimization_level": "disabled"}
    definition = Definition(name="unoptimised", engine="onnxruntime", precision="float32", threads=1, options=options)
    session = get_engine("onnxruntime").load(path, definition)
    rounded = Float64Model(path, alteration=everything_in(to_float32))
    for feeds in cases:
        wide = model.run(feeds)
        narrow = [session.run(feeds), rounded.run(feeds)]
        worse = {name: max((each[name] for each in narrow), key=partial(_error, wide[name])) for name in wide}
        yield {f"float64/{n}": a for n, a in wide.items()} | {f"float32/{n}": a for n, a in worse.items()}, {}


def _error(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.abs(actual.astype(np.float64) - expected)).max(initial=0.0))
