"""What people hand over as a module, before it is captured: unwrapped, widened, or refused by name."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from rnnexport.capture import InputSpec
from rnnexport.capture.torchscript import module_of_script
from rnnexport.errors import InputError

_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


@dataclasses.dataclass(frozen=True, slots=True)
class ReadyModule:
    """A module that can be captured."""

    module: nn.Module
    inputs: Sequence[InputSpec]
    notes: list[str]


def prepared(source: Any, inputs: Sequence[InputSpec]) -> ReadyModule:
    """Unwrap what `torch.compile`, `DataParallel` and `torch.export` made, and widen bfloat16 to float32.

    Raises:
        InputError: There is no module to capture: the message names what it is and what to give instead.
    """
    if isinstance(source, torch.export.ExportedProgram):
        source = _InOrder(source.module())
    while wrapped := _wrapped(source):
        source = wrapped
    if isinstance(source, torch.jit.ScriptFunction):
        source = module_of_script(source)
    if not isinstance(source, nn.Module):
        raise InputError(f"a {type(source).__name__} is no torch.nn.Module; wrap it in one")
    source = _without_scripts(source)
    for path, child in source.named_modules():
        if type(child).__module__.startswith(_QUANTIZED):
            kind = type(child).__name__
            raise InputError(
                f"module {path!r} is a quantized {kind}, which has no ONNX form; export the float module, and let "
                "`rnnexport tune` choose its precision"
            )
        if isinstance(child, nn.RNNBase | nn.RNNCellBase) and torch.float64 in {p.dtype for p in child.parameters()}:
            kind = type(child).__name__
            raise InputError(
                f"module {path!r} is a float64 {kind}, which ONNX Runtime does not compute; export `module.float()`, "
                "whose reference is computed in float64 all the same"
            )
    tensors = [*source.named_parameters(), *source.named_buffers()]
    if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
        raise InputError(f"parameter {lazy[0]!r} is not initialised yet; call the module once before exporting it")
    if all(tensor.dtype != torch.bfloat16 for _, tensor in tensors):
        return ReadyModule(source, inputs, [])
    widened = [dataclasses.replace(spec, dtype="float32") if spec.dtype == "bfloat16" else spec for spec in inputs]
    note = "the weights are bfloat16; they and such inputs are exported as float32, which holds every bfloat16 value"
    return ReadyModule(copy.deepcopy(source).float(), widened, [note])


def _without_scripts(module: nn.Module) -> nn.Module:
    """Return the module, or one like it whose parts in TorchScript are modules of Python."""
    if isinstance(module, torch.jit.ScriptModule):
        return module_of_script(module)
    parts = {name: child and _without_scripts(child) for name, child in module._modules.items()}
    if parts == dict(module._modules):
        return module
    made = copy.copy(module)
    made._modules = parts
    return made


class _InOrder(nn.Module):
    """The module of an exported program, which takes by name only what was given by name when it was exported."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Call the module."""
        return self.module(*inputs)


def _wrapped(source: Any) -> nn.Module | None:
    if isinstance(source, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner: nn.Module = source.module
        return inner
    compiled = getattr(source, "_orig_mod", None)  # what torch.compile returns
    return compiled if isinstance(compiled, nn.Module) else None
