"""A graph for a fixed number of time steps, so that its recurrent layers can be unrolled.

The dynamic dimension over which all recurrent layers run becomes a number wherever it stands.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.errors import ExportError
from rnnexport.passes.recognising.recurrent import is_recurrent
from rnnexport.passes.step import TIME_DIMENSION, common_dimension


class FixedTime(ir.passes.InPlacePass):
    """Fix the number of time steps; see this module. A second run changes nothing."""

    def __init__(self, steps: int) -> None:
        """Take the number of time steps."""
        super().__init__()
        self._steps = steps

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model` in place.

        Raises:
            ExportError: The layers run over several time dimensions, or it is fixed to another number already.
        """
        ShapeInferencePass()(model)
        nodes = [node for node in model.graph if is_recurrent(node)]
        sizes = {node.inputs[0].shape[0] for node in nodes if node.inputs[0] is not None and node.inputs[0].shape}
        if not nodes or sizes == {self._steps}:
            return ir.passes.PassResult(model, modified=False)
        if not (name := common_dimension(nodes, 0)):
            found = ", ".join(sorted({str(size) for size in sizes}))
            raise ExportError(f"the time steps cannot be fixed to {self._steps}: the recurrent layers run over {found}")
        produced = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
        for value in produced:
            value.shape = None
        for value in [*model.graph.inputs, *model.graph.outputs]:
            if value.shape is not None:
                sizes_of_value = [getattr(size, "value", size) for size in value.shape]
                value.shape = ir.Shape([self._steps if size == name else size for size in sizes_of_value])
        model.metadata_props.pop(TIME_DIMENSION, None)
        ShapeInferencePass()(model)
        return ir.passes.PassResult(model, modified=True)
