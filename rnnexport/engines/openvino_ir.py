"""ONNX graphs in OpenVINO's own format, for programs that load only that.

1. Weights stay float32 unless compression is asked for; OpenVINO's own default is to store them as float16.
2. In a stateful graph each state is a variable that the runtime keeps between calls; `reset_state` sets it to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnnexport.engines.openvino import engine_error, import_openvino


def write_ir(model: Path, out: Path, *, compress: bool = False, stateful: Sequence[tuple[str, str]] = ()) -> None:
    """Convert an ONNX file to `out` (.xml) with its weights beside it (.bin).

    Args:
        model: The ONNX file.
        out: The .xml to write.
        compress: Store the weights as float16, half the size; results then differ by float16's rounding.
        stateful: (input, output) pairs that become state inside the graph.

    Raises:
        EngineError: OpenVINO cannot convert the graph; its own words are in the message.
    """
    library = import_openvino()
    try:
        converted = library.Core().read_model(str(model))
        if stateful:
            from openvino._offline_transformations import apply_make_stateful_transformation

            apply_make_stateful_transformation(converted, dict(stateful))
        library.save_model(converted, str(out), compress_to_fp16=compress)
    except RuntimeError as exc:
        raise engine_error(f"cannot convert {model.name!r}", exc) from exc
