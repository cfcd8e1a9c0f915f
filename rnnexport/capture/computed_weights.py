"""Weights that a module computes from others: a trace takes them as they are.

1. `torch.nn.utils.parametrizations` compute a weight whenever it is read, with operators that may have no ONNX form.
   They are computed once before the trace, which then holds constants.
2. Hooks of the older `weight_norm`, `spectral_norm` and `prune`, and wrappers that drop weights while training, set a
   weight as an attribute at each call. It is no state that a module keeps between calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.utils import parametrize


@contextmanager
def computed_weights_kept(module: nn.Module) -> Iterator[None]:
    """Compute each parametrized weight now, and give that one for as long as the context lasts."""
    with parametrize.cached():
        for child in module.modules():
            for name in getattr(child, "parametrizations", ()):
                getattr(child, name)
        yield


def computed_attributes(module: nn.Module) -> set[str]:
    """The paths of attributes that hooks and wrappers set to a computed weight."""
    return {
        f"{path}.{name}".removeprefix(".")
        for path, child in module.named_modules()
        for name in [*getattr(child, "_flat_weights_names", ()), *_set_by_hooks(child)]
    }


def _set_by_hooks(module: nn.Module) -> list[str]:
    hooks = module._forward_pre_hooks.values()
    names = (getattr(hook, "name", None) or getattr(hook, "_tensor_name", None) for hook in hooks)
    return [name for name in names if isinstance(name, str)]
