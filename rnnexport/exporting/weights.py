"""Weights as people keep them: safetensors, PyTorch state dicts, and checkpoints that hold one.

Pickles are read by PyTorch's restricted unpickler only, which runs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rnnexport.errors import CheckpointError
from rnnexport.exporting.torch_files import read_torch_file
from rnnexport.models.classifier import check_weights, read_weights

_PICKLES = (".pt", ".pth", ".ckpt", ".bin")
_KEYS = ("state_dict", "model_state_dict", "model")
"""Under which checkpoints keep the state dict; Lightning the first."""


def load_weights(model: nn.Module, path: Path, name: str) -> str | None:
    """Load the weights in `path` into `model`; return the prefix that was taken off their names, if any.

    Raises:
        CheckpointError: The file cannot be read without running code, holds no weights, or they do not fit.
    """
    weights = _read_state_dict(path) if path.suffix in _PICKLES else read_weights(path)
    prefix = _prefix(weights, model.state_dict())
    weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}
    check_weights(model, weights, path, name)
    model.load_state_dict(weights)
    return prefix or None


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    found = read_torch_file(path, CheckpointError, "; save the module's state_dict() alone")
    inner = (found[key] for key in _KEYS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping))
    weights = next(inner, found)
    if not isinstance(weights, Mapping) or not weights or not all(isinstance(v, Tensor) for v in weights.values()):
        raise CheckpointError(f"{path} holds no state dict; save the module's state_dict()")
    return dict(weights)


def _prefix(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What stands before the names that the model expects, such as `model.` in a Lightning checkpoint."""
    first = next(iter(expected), "")
    candidates = {key.removesuffix(first) for key in weights if key.endswith(first)}
    fitting = (p for p in sorted(candidates, key=len) if all(f"{p}{key}" in weights for key in expected))
    return next(fitting, "")
