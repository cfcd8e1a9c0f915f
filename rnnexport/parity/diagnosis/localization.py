"""Where an answer first goes wrong: layer, direction, time step and row.

The outputs of the recurrent layers are made outputs of the graph, and compared in the order in which they are computed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError
from rnnexport.onnx_files.operators import RECURRENT
from rnnexport.parity.compare import allowed_differences, compare, differences
from rnnexport.parity.diagnosis.fault_model import Call, Evidence
from rnnexport.parity.onnx_float64 import Float64Model
from rnnexport.runtime.worker import infer

if TYPE_CHECKING:
    import onnx


class Divergence(BaseModel):
    """The first place where the numbers differ."""

    output: str
    """The graph's output, or the recurrent node's where that is known to differ."""
    layer: int | None = None
    """Number of the recurrent node in the order of computation, from 1; `None` where no layer differs or is visible."""
    direction: str | None = None
    time_step: int | None = None
    """The first in the layer's own order: the largest of a reverse direction."""
    row: int | None = None
    difference: float

    def __str__(self) -> str:
        """Such as `layer 2 ('Y_3'), reverse direction, time step 11, row 4`."""
        known = {"time step": self.time_step, "row": self.row}
        where = "".join(f", {what} {number}" for what, number in known.items() if number is not None)
        if self.layer is None:
            return f"output {self.output!r}{where}"
        return f"layer {self.layer} ({self.output!r}), {self.direction} direction{where}"


@dataclass(frozen=True, slots=True)
class LayerOutput:
    """Y of a recurrent node."""

    name: str
    layer: int
    directions: tuple[str, ...]
    batch_first: bool


def first_divergence(
    bundle: Bundle, definition: Definition, tolerance: Tolerance, evidence: Evidence, call: Call, *, file_is_right: bool
) -> Divergence | None:
    """Compare layer by layer what was computed for `call` with what should have been; the outputs come last.

    A wrong runtime is compared with the file in float64, a wrong file with the right graph where there is one.
    """
    for layer, actual, expected in _layer_outputs(bundle, definition, evidence, call, file_is_right=file_is_right):
        if (found := _diverging_step(layer, actual, expected, tolerance)) is not None:
            return found
    return _diverging_output(bundle, call, tolerance)


def with_layer_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[LayerOutput]]:
    """Return a copy of which every recurrent node's Y is an output, and what those are, in order."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    layers: list[LayerOutput] = []
    for node in copy.graph.node:
        if node.op_type not in RECURRENT:
            continue
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        direction = attributes.get("direction", b"forward").decode()
        directions = ("forward", "reverse") if direction == "bidirectional" else (direction,)
        if not node.output[0]:
            node.output[0] = f"{next(filter(None, node.output))}/Y"
        layers.append(LayerOutput(node.output[0], len(layers) + 1, directions, bool(attributes.get("layout", 0))))
    present = {value.name for value in copy.graph.output}
    element = _element_type(copy)
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(layer.name, element, [None] * 4)
        for layer in layers
        if layer.name not in present
    )
    return copy, layers


def _element_type(model: onnx.ModelProto) -> int:
    """Of the recurrent layers: what their weights have."""
    names = {node.input[1] for node in model.graph.node if node.op_type in RECURRENT}
    return next((t.data_type for t in model.graph.initializer if t.name in names), 1)


def _layer_outputs(
    bundle: Bundle, definition: Definition, evidence: Evidence, call: Call, *, file_is_right: bool
) -> list[tuple[LayerOutput, NDArray[np.float64], NDArray[np.float64]]]:
    """Each layer's output as computed and as it should be; none where they cannot be had or do not correspond."""
    file, layers = with_layer_outputs(evidence.file)
    names = [layer.name for layer in layers]
    try:
        of_file = Float64Model(file).run(call.feeds)
        if file_is_right:
            actual = _run_visible(bundle, definition, file, call.feeds)
            pairs = [(actual.get(name), of_file[name]) for name in names]
        elif evidence.right is not None:
            right, right_layers = with_layer_outputs(evidence.right)
            if len(right_layers) != len(layers):
                return []
            of_right = Float64Model(right).run(call.feeds)
            pairs = [(of_file[name], of_right[other.name]) for name, other in zip(names, right_layers, strict=True)]
        else:
            return []
    except InputError:
        return []
    return [
        (layer, found, wanted)
        for layer, (found, wanted) in zip(layers, pairs, strict=True)
        if found is not None and found.shape == wanted.shape
    ]


def _run_visible(bundle: Bundle, definition: Definition, model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    """Run the altered file in the runtime; nothing where that has no ONNX file to run or cannot."""
    import onnx

    if reads_source(definition):
        return {}
    with tempfile.TemporaryDirectory(prefix="rnnexport-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path, save_as_external_data=model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF)
        (result,) = infer(path, definition, [feeds])
    return {} if result.failure else result.outputs


def _diverging_step(
    layer: LayerOutput, actual: NDArray[np.float64], expected: NDArray[np.float64], tolerance: Tolerance
) -> Divergence | None:
    """The first wrong step of the first wrong direction, in that direction's own order."""
    if layer.batch_first:
        actual, expected = (np.moveaxis(array, 0, 2) for array in (actual, expected))
    difference = differences(actual, expected)
    wrong = difference > allowed_differences(expected, tolerance)
    for number, direction in enumerate(layer.directions):
        steps = np.flatnonzero(wrong[:, number].any(axis=(1, 2)))
        if steps.size:
            step = int(steps[-1] if direction == "reverse" else steps[0])
            row = int(np.argmax(difference[step, number].max(axis=1)))
            return Divergence(
                output=layer.name,
                layer=layer.layer,
                direction=direction,
                time_step=step,
                row=row,
                difference=float(difference[step, number, row].max()),
            )
    return None


def _diverging_output(bundle: Bundle, call: Call, tolerance: Tolerance) -> Divergence | None:
    """The first wrong output, with its first wrong time step and row where it has those axes."""
    for info in bundle.manifest.outputs:
        reference, actual = call.expected[info.name], call.observed[info.name]
        comparison = compare(info.name, actual, reference, tolerance)
        if comparison.passed:
            continue
        difference = differences(actual, reference.expected)
        wrong = np.argwhere(difference > allowed_differences(reference.expected, tolerance))
        first = min(map(tuple, wrong), key=lambda index: index[info.time_axis or 0], default=comparison.worst_index)
        return Divergence(
            output=info.name,
            time_step=None if info.time_axis is None else int(first[info.time_axis]),
            row=None if info.batch_axis is None else int(first[info.batch_axis]),
            difference=comparison.max_abs_diff,
        )
    return None
