"""A whole ONNX graph in float64, operator by operator: the reference where there is no PyTorch source.

1. Recurrent nodes are computed by `operators`, straight from the specification; onnx's own reference evaluator ignores
   `sequence_lens`. All other operators are onnx's reference implementation.
2. Every float32, float16 and bfloat16 constant, cast and attribute becomes float64, in sub-graphs too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError
from rnnexport.parity.operators import evaluate

_NARROW_TYPES = (1, 10, 16)  # TensorProto.FLOAT, FLOAT16, BFLOAT16
_DOUBLE = 11
_TYPE_ATTRIBUTES = ("to", "dtype")


class Float64Model:
    """An ONNX file, ready to be evaluated.

    Args:
        path: The file; its external data is read, too.
        extra_outputs: Values inside the graph to return as well.

    Raises:
        InputError: The file cannot be read, or holds an operator that the evaluator lacks.
    """

    def __init__(self, path: Path, extra_outputs: Sequence[str] = ()) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        try:
            model = onnx.load(path, load_external_data=False)
            self._constants = _external_constants(path, model)
            for name in extra_outputs:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
            _widen_graph(model.graph)
            self._evaluator = ReferenceEvaluator(model, new_ops=_recurrent_operators())
        except Exception as exc:  # the evaluator raises what comes
            raise InputError(f"{path.name} cannot be evaluated in float64: {_first_line(exc)}") from exc
        self._path = path
        self.outputs = [value.name for value in model.graph.output]

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Return all outputs, floating-point ones as float64.

        Raises:
            InputError: An operator fails on these feeds.
        """
        wide = {name: _wide(array) for name, array in feeds.items()}
        try:
            results = self._evaluator.run(None, wide | self._constants)
        except Exception as exc:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise InputError(f"{self._path.name} cannot be evaluated with {shapes}: {_first_line(exc)}") from exc
        return {name: np.asarray(result) for name, result in zip(self.outputs, results, strict=True)}


def _external_constants(path: Path, model: Any) -> dict[str, NDArray[Any]]:
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
    return {
        name: _wide(np.asarray(tensor.numpy()))
        for name, tensor in constants.items()
        if name in names and tensor is not None
    }


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    is_float = np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"
    return array.astype(np.float64) if is_float else array


def _first_line(exc: Exception) -> str:
    return f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0]}"


def _widen_graph(graph: Any) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            _widen_attribute(attribute)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type in _NARROW_TYPES:
            value.type.tensor_type.elem_type = _DOUBLE


def _widen_attribute(attribute: Any) -> None:
    for tensor in [attribute.t, *attribute.tensors]:
        _widen_tensor(tensor)
    for graph in [attribute.g, *attribute.graphs]:
        _widen_graph(graph)
    if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _NARROW_TYPES:
        attribute.i = _DOUBLE


def _widen_tensor(tensor: Any) -> None:
    from onnx import numpy_helper

    if tensor.data_type in _NARROW_TYPES:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def _recurrent_operators() -> list[type]:
    return [_recurrent_operator(name) for name in ("LSTM", "GRU", "RNN")]


def _recurrent_operator(op_type: str) -> type:
    """An operator in the form that onnx's evaluator takes: a class of the operator's name."""
    from onnx.reference.op_run import OpRun

    def run(self: Any, *inputs: Any, **_: Any) -> tuple[NDArray[Any], ...]:
        from onnx import helper

        attributes = {item.name: helper.get_attribute_value(item) for item in self.onnx_node.attribute}
        decoded = {name: _decoded(value) for name, value in attributes.items() if name != "output_sequence"}
        results = evaluate(op_type, [*inputs], **decoded)
        return results[: len(self.onnx_node.output)]

    return type(op_type, (OpRun,), {"op_domain": "", "_run": run})


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def float64_job(
    arguments: dict[str, Any], cases: Iterator[Feeds]
) -> Iterator[tuple[dict[str, NDArray[Any]], dict[str, Any]]]:
    """Worker job: the graph in float64, as `float64/NAME`, and in ONNX Runtime unoptimised, as `float32/NAME`."""
    from rnnexport.engines import get_engine
    from rnnexport.engines.contract import Definition

    path = Path(arguments["model"])
    model = Float64Model(path)
    options = {"graph_optimization_level": "disabled"}
    definition = Definition(name="unoptimised", engine="onnxruntime", precision="float32", threads=1, options=options)
    session = get_engine("onnxruntime").load(path, definition)
    for feeds in cases:
        wide, narrow = model.run(feeds), session.run(feeds)
        yield {f"float64/{n}": a for n, a in wide.items()} | {f"float32/{n}": a for n, a in narrow.items()}, {}
