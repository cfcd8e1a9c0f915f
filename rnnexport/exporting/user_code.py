"""A user's module by name: imported because the user named it, and for no other reason."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def load_module(name: str, weights: Path | None = None) -> nn.Module:
    """Import `package.module:Class`, call it without arguments, and load its weights.

    The class may also be a function that returns a module. Modules are looked up from the working directory, too.

    Raises:
        InputError: The name cannot be imported, is no module, or the weights do not fit.
    """
    from torch import nn

    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} names no module; write it like 'my_package.models:TaggerNet'")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        model = found if isinstance(found, nn.Module) else found()
    except Exception as exc:  # the user's code can raise anything
        raise InputError(f"{name!r} cannot be built: {type(exc).__name__}: {exc}") from exc
    finally:
        sys.path.pop(0)
    if not isinstance(model, nn.Module):
        raise InputError(f"{name!r} gives a {type(model).__name__}, not a torch.nn.Module")
    if weights is not None:
        _load_weights(model, name, weights)
    return model


def _load_weights(model: nn.Module, name: str, path: Path) -> None:
    from rnnexport.models.classifier import check_weights, read_weights

    weights = read_weights(path)
    check_weights(model, weights, path, name)
    model.load_state_dict(weights)
