"""ONNX graphs in OpenVINO's own format, for programs that load only that.

1. Weights stay float32 unless compression is asked for; OpenVINO's own default is to store them as float16.
2. In a stateful graph each state is a variable that the runtime keeps between calls; `reset_state` sets it to zero, for
   as many streams as the next call has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexport.engines.openvino import engine_error, import_openvino


@dataclass(frozen=True, slots=True)
class StatesInside:
    """Which states a graph is to keep."""

    pairs: Sequence[tuple[str, str]]
    """(input, output) of each state."""
    batch: tuple[str, int] | None
    """An input that stays and its axis of the streams, from which the size of a fresh state comes."""


def write_ir(model: Path, out: Path, *, compress: bool = False, states: StatesInside | None = None) -> None:
    """Convert an ONNX file to `out` (.xml) with its weights beside it (.bin).

    Args:
        model: The ONNX file.
        out: The .xml to write.
        compress: Store the weights as float16, half the size; results then differ by float16's rounding.
        states: States that become variables of the graph.

    Raises:
        EngineError: OpenVINO cannot convert the graph; its own words are in the message.
    """
    library = import_openvino()
    try:
        converted = library.Core().read_model(str(model))
        if states:
            _keep_states(converted, states)
        library.save_model(converted, str(out), compress_to_fp16=compress)
    except RuntimeError as exc:
        raise engine_error(f"cannot convert {model.name!r}", exc) from exc


def _keep_states(model: Any, states: StatesInside) -> None:
    """Replace each pair by a variable; OpenVINO's own transformation gives it no size where the batch is dynamic."""
    from openvino import opset13 as operators
    from openvino.op.util import Variable, VariableInfo

    parameters = {port.any_name: port.get_node() for port in model.inputs}
    results = {port.any_name: port.get_node() for port in model.outputs}
    for before, after in states.pairs:
        parameter, result = parameters[before], results[after]
        shape = parameter.get_partial_shape()
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = shape, parameter.get_element_type(), before
        variable = Variable(info)
        sizes = [_batch_size(parameters, states) if size.is_dynamic else [size.get_length()] for size in shape]
        zeros = operators.broadcast(operators.constant(0, info.data_type), operators.concat(sizes, 0))
        parameter.output(0).replace(operators.read_value(zeros, variable).output(0))
        new_state = operators.concat([result.input_value(0)], 0)  # `assign` takes a node, not one of its outputs
        model.remove_result(result)
        model.add_variables([variable])
        model.add_sinks([operators.assign(new_state, variable)])
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()


def _batch_size(parameters: dict[str, Any], states: StatesInside) -> Any:
    from openvino import opset13 as operators

    assert states.batch is not None
    name, axis = states.batch
    return operators.gather(operators.shape_of(parameters[name]), [axis], 0)
