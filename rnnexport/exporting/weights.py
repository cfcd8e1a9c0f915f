"""Weights as people keep them: safetensors, PyTorch state dicts, and checkpoints that hold one.

Pickles are read by PyTorch's restricted unpickler only, which runs no code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rnnexport.errors import CheckpointError
from rnnexport.files.regular_files import check_regular
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
    try:
        check_regular(path)
        found = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as exc:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which is not opened because it could run code; "
            "save the module's state_dict() alone"
        ) from exc
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
