"""What Optimum says of a file: `optimum.exporters.onnx.validate_model_outputs` with its default tolerance.

Optimum takes models of Transformers: the module is wrapped as one, with a configuration as Optimum's guide shows for
architectures of one's own. Inputs are the example; names and axes are those of the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
from optimum.exporters.onnx import validate_model_outputs
from optimum.exporters.onnx.base import OnnxConfig
from optimum.utils import NormalizedConfig
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from benchmarks.silent_faults.faults import Fault, find


class Wrapped(PreTrainedModel):
    """A module as Transformers has models: outputs by name."""

    config_class = PretrainedConfig

    def __init__(self, module: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__(PretrainedConfig())
        self.module, self.outputs = module, outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Call the module with the inputs in their order."""
        given = self.module(*inputs.values())
        return dict(zip(self.outputs, [given] if isinstance(given, Tensor) else given, strict=True))


def axes(values: Any) -> dict[str, dict[int, str]]:
    """The dynamic axes that the file declares."""
    return {
        value.name: {i: d.dim_param for i, d in enumerate(value.type.tensor_type.shape.dim) if d.dim_param}
        for value in values
    }


def config_of(fault: Fault, path: Path) -> OnnxConfig:
    """What Optimum wants to know of the file."""
    graph = onnx.load(path).graph

    class Config(OnnxConfig):
        NORMALIZED_CONFIG_CLASS = NormalizedConfig

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return axes(graph.input)

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return axes(graph.output)

        def generate_dummy_inputs(self, framework: str = "pt", **kwargs: Any) -> dict[str, Tensor]:
            return dict(zip(fault.example(), fault.tensors(), strict=True))

    return Config(PretrainedConfig(), task="feature-extraction")


def judge(fault: Fault, bundle: Path) -> dict[str, object]:
    """Validate; an exception is the verdict."""
    path = bundle / "model.onnx"
    model, config = Wrapped(fault.module(), fault.outputs).eval(), config_of(fault, path)
    try:
        validate_model_outputs(config, model, path, list(fault.outputs), use_subprocess=False)
    except Exception as exc:
        return {"verdict": "caught", "says": f"{type(exc).__name__}: {exc}"[:300]}
    return {"verdict": "passed", "says": ""}


if __name__ == "__main__":
    print(json.dumps(judge(find(sys.argv[1]), Path(sys.argv[2]))))
