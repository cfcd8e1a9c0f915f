"""What every export writes, whatever the model came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from rnnexport.bundle.axes import Infos, find_input_axes, find_output_axes
from rnnexport.bundle.manifest import Source, TensorInfo, Tolerance
from rnnexport.engines.contract import Feeds
from rnnexport.errors import ExportError
from rnnexport.exporting.onnx_file import write_onnx
from rnnexport.parity.grid import Case
from rnnexport.parity.oracle import KEPT_CASES, keep_cases

if TYPE_CHECKING:
    import onnx_ir

EXPORTED = Path("exported")
"""Where bundles go that are given no place."""
TOLERANCES = {
    "float32": Tolerance(atol=1e-5, rtol=1.3e-6),
    "float16": Tolerance(atol=5e-3, rtol=5e-3),
    "bfloat16": Tolerance(atol=2.5e-1, rtol=5e-2),
}
"""float32: that of torch.testing.assert_close. The others: a few units in the last place of logits up to 30."""
EXTERNAL_DATA_BYTES = 2**31 - 2**20
"""Graphs of this size and more keep their weights in a file beside them: protobuf cannot hold 2 GiB."""


def input_infos(graph: onnx_ir.Model) -> Infos:
    """Describe the inputs of a graph that still has its `sequence_lens`, with the role and the axes of each."""
    from rnnexport.exporting.input_scales import scale_of
    from rnnexport.inspecting.layers import call_dimensions, recurrent_nodes
    from rnnexport.passes.recognising.input_kinds import input_kinds

    kinds = input_kinds(graph)
    infos = [
        TensorInfo(
            **_described(value),
            role=kinds[value.name or ""].role,
            upper_bound=kinds[value.name or ""].upper_bound,
            counted_dimension=kinds[value.name or ""].counted_dimension,
            scale=scale_of(value) if kinds[value.name or ""].role == "features" else None,
        )
        for value in graph.graph.inputs
        if value.const_value is None  # files of old versions name their constants among the inputs
    ]
    found = [[_symbol(size) or "" for size in call_dimensions(node) or ()] for node in recurrent_nodes(graph)]
    batches, times = ({sizes[axis] for sizes in found if sizes} for axis in (0, 1))
    return find_input_axes(infos, batches if len(batches) == 1 else (), times)


def output_infos(graph: onnx_ir.Model, inputs: Sequence[TensorInfo]) -> Infos:
    """Describe the outputs of a graph, whose inputs are known."""
    return find_output_axes([TensorInfo(**_described(value), role="output") for value in graph.graph.outputs], inputs)


def _described(value: onnx_ir.Value) -> dict[str, Any]:
    dimensions = value.shape or ()
    return {
        "name": value.name,
        "dtype": str(value.dtype.numpy()) if value.dtype else "float32",  # UNDEFINED is 0
        "shape": tuple(
            d if isinstance(d, int) and d >= 0 else _symbol(d) or f"{value.name}_{i}" for i, d in enumerate(dimensions)
        ),
    }


def _symbol(dimension: int | onnx_ir.SymbolicDim) -> str | None:
    """Its name; none where it has none, or is the -1 that Paddle writes."""
    return None if isinstance(dimension, int) else dimension.value


def save_graph(graph: onnx_ir.Model, source: Source, inputs: Sequence[TensorInfo], path: Path) -> None:
    """Write a checked graph, with the facts that a reader without the manifest needs in `metadata_props`.

    Raises:
        ExportError: The graph contradicts itself, as where PyTorch's exporter wrote an operator as what it is not.
    """
    import onnx
    import onnx_ir

    graph.metadata_props["rnnexport.source"] = source.name
    for info in inputs:
        graph.metadata_props[f"rnnexport.role.{info.name}"] = info.role
    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value is not None)
    if size >= EXTERNAL_DATA_BYTES:
        onnx_ir.save(graph, path, external_data=f"{path.name}.data")
    else:
        write_onnx(graph, path)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        reason = " ".join(str(exc).split())
        raise ExportError(f"the graph that was written contradicts itself: {reason}") from exc


def keep_answers(folder: Path, outputs: Sequence[TensorInfo], calls: Sequence[Case], answers: Sequence[Feeds]) -> None:
    """Keep the calls that a bundle is judged by, with their answers; the first is its example, too.

    The answers to a call are named `float64/NAME` and `float32/NAME`, for each of `outputs`.
    """
    keep_cases(folder / KEPT_CASES, calls, answers)
    example = {info.name: answers[0][f"float64/{info.name}"].astype(info.dtype) for info in outputs}
    write_test_data(folder / "test_data_set_0", calls[0].feeds, example)


def write_test_data(folder: Path, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
    """Write one call in the layout of the ONNX backend tests: input_0.pb …, output_0.pb, as TensorProto."""
    from onnx import numpy_helper

    folder.mkdir()
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for number, (name, array) in enumerate(arrays.items()):
            proto = numpy_helper.from_array(array, name)
            (folder / f"{kind}_{number}.pb").write_bytes(proto.SerializeToString())
