"""What a module answers to the calls it is judged at, in float64 and in its own precision.

1. In float64 a module computes in float64 whatever element types its code writes: `torch.zeros(…)`, `x.float()`,
   `dtype=torch.float32` and casts to half precision all give float64 there.
2. Its weights are widened in place and put back: a forward may close over its layers, which a copy would leave behind.
3. A module whose two float64 runs of one call differ draws random numbers, which no graph repeats: it is refused, and
   the message names the place in its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from rnnexport.capture import InputSpec, call_module
from rnnexport.capture.failures import place_of_call
from rnnexport.engines.contract import Feeds
from rnnexport.errors import ExportError
from rnnexport.exporting.user_code import user_code
from rnnexport.parity.grid import Case

_WIDE = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}


def answers(module: nn.Module, inputs: Sequence[InputSpec], names: Sequence[str], cases: Sequence[Case]) -> list[Feeds]:
    """Ask a module each call twice; outputs are named `float64/NAME` and `float32/NAME`, as the oracle names them.

    Raises:
        ExportError: The module fails on a call, or draws random numbers.
    """
    found: list[dict[str, NDArray[Any]]] = [{} for _ in cases]
    with _in_float64(module):
        for answer, case in zip(found, cases, strict=True):
            outputs = _wide_outputs(module, inputs, case, is_first=case is cases[0])
            answer.update({f"float64/{name}": array for name, array in zip(names, outputs, strict=True)})
    for answer, case in zip(found, cases, strict=True):
        outputs = _call(module, inputs, case)
        answer.update({f"float32/{name}": array for name, array in zip(names, outputs, strict=True)})
    return [*found]


def works(module: nn.Module, inputs: Sequence[InputSpec], case: Case) -> bool:
    """Whether the module answers a call at all."""
    try:
        _call(module, inputs, case)
    except ExportError:
        return False
    return True


def _wide_outputs(module: nn.Module, inputs: Sequence[InputSpec], case: Case, *, is_first: bool) -> list[NDArray[Any]]:
    """Call a module that is held in float64; twice where it may be random, and once at least."""
    with _computing_wide() as computation:
        outputs = _call(module, inputs, case)
        if not is_first and not computation.draws_at:
            return outputs
        again = _call(module, inputs, case)
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc") for a, b in zip(outputs, again, strict=True)):
        place = next(iter(computation.draws_at), "")
        raise ExportError(
            f"{place}forward draws random numbers, so that two calls with the same inputs differ, and no graph gives "
            "what it gives; give them as an input, draw them only where self.training, or use zeros"
        )
    return outputs


class _WideComputation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes every operator in double precision, and notes the places that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws_at: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        schema = func._schema
        shares_memory = schema.is_mutable or any(value.alias_info is not None for value in schema.returns)

        def widened(leaf: Any) -> Any:
            if isinstance(leaf, torch.dtype):
                return _WIDE.get(leaf, leaf)
            if isinstance(leaf, Tensor) and leaf.dtype in _WIDE and not shares_memory:
                return leaf.to(_WIDE[leaf.dtype])
            return leaf

        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and _is_on(schema, args, kwargs):
            self.draws_at.append(place_of_call())
        return func(*tree_map(widened, args), **tree_map(widened, kwargs))


def _is_on(schema: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether an operator that may draw random numbers does so: dropout has a switch for training."""
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    return bool(given.get("train", given.get("training", True)))


@contextmanager
def _computing_wide() -> Iterator[_WideComputation]:
    """Make float64 the type of everything computed, for as long as the context lasts."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _WideComputation() as computation:
            yield computation
    finally:
        torch.set_default_dtype(default)


@contextmanager
def _in_float64(module: nn.Module) -> Iterator[None]:
    """Hold the tensors of a module in float64 for as long as the context lasts."""
    held = {id(tensor): tensor for child in module.modules() for tensor in _tensors(child.__dict__)}
    narrow = [(tensor, tensor.data) for tensor in held.values() if tensor.dtype in _WIDE]
    try:
        for tensor, data in narrow:
            tensor.data = data.to(_WIDE[data.dtype])
        yield
    finally:
        for tensor, data in narrow:
            tensor.data = data


def _tensors(container: Any) -> Iterator[Tensor]:
    """The tensors of an object's attributes, at any depth of plain containers."""
    if isinstance(container, Tensor):
        yield container
    elif isinstance(container, dict):
        for value in container.values():
            yield from _tensors(value)
    elif type(container) in (list, tuple):
        for value in container:
            yield from _tensors(value)


def _call(module: nn.Module, inputs: Sequence[InputSpec], case: Case) -> list[NDArray[Any]]:
    wide = torch.get_default_dtype() is torch.float64
    tensors = [_tensor(case.feeds[spec.name], widen=wide) for spec in inputs]
    with user_code(f"the module fails at {case.name}", ExportError):
        return [output.numpy() for output in call_module(module, inputs, tensors)]


def _tensor(array: NDArray[Any], *, widen: bool) -> Tensor:
    wide = np.issubdtype(array.dtype, np.floating) and widen
    return torch.from_numpy(array.astype(np.float64) if wide else np.array(array))
