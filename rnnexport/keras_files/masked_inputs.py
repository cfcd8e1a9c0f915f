"""What a model's masks depend on."""

from __future__ import annotations

import math

from rnnexport.keras_files.layers.masks import NotEqual
from rnnexport.keras_files.layers.recurrent import Bidirectional, Recurrent
from rnnexport.keras_files.model import Model


def masked_inputs(model: Model) -> dict[str, float]:
    """The inputs whose steps can be masked, with the value that masks one."""
    inputs = {tensor.name for tensor in model.inputs}
    return {
        call.inputs[0].name: call.layer.value
        for call in model.calls
        if isinstance(call.layer, NotEqual) and call.inputs[0].name in inputs and not math.isnan(call.layer.value)
    }  # NaN masks nothing: it equals no number


def masks_reach_layers(model: Model) -> bool:
    """Whether a recurrent layer skips steps."""
    return any(isinstance(call.layer, Recurrent | Bidirectional) and any(call.masks) for call in model.calls)
