"""Runs torch.export over the user's module with symbolic sizes, and makes sure that none of them froze.

1. The module is traced in evaluation mode without touching its data: only shapes flow.
2. Each symbolic dimension gets one size variable; inputs that share its name share the variable.
3. A size that the module's code turned into a number, or on which it branches, is refused with the place.
4. The module is left as it was found, also after an error.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rnnexport.capture.failures import tracing_error
from rnnexport.capture.inputs import InputSpec
from rnnexport.capture.interception import recurrent_layers_caught
from rnnexport.capture.packed import packing_caught
from rnnexport.errors import InputError


class Entry(nn.Module):
    """The user's module with its inputs as a flat list, in the order of their specifications."""

    PREFIX = "module"
    """What parameter names and module paths begin with inside the trace."""

    def __init__(self, module: nn.Module, inputs: Sequence[InputSpec]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs
        self.by_name = _is_by_name(module, inputs)

    def forward(self, *tensors: Tensor) -> Any:
        """Call the module; sizes that share a name become one variable."""
        sizes: dict[str, Any] = {}
        for spec, tensor in zip(self.inputs, tensors, strict=True):
            for dimension, size in zip(spec.shape, tensor.shape, strict=True):
                if isinstance(dimension, str):
                    torch._check(size == sizes.setdefault(dimension, size))  # type: ignore[no-untyped-call]
        arguments = nested({spec.name: tensor for spec, tensor in zip(self.inputs, tensors, strict=True)})
        return self.module(**arguments) if self.by_name else self.module(*arguments.values())


def trace(module: nn.Module, inputs: Sequence[InputSpec]) -> torch.export.ExportedProgram:
    """Trace `module` with one opaque operator per recurrent call.

    Raises:
        InputError: The inputs do not fit the module's forward.
        ExportError: The forward depends on values or sizes in a way that a graph cannot hold.
    """
    entry = Entry(module, inputs)
    sizes = sample_sizes(module, inputs)
    tensors = tuple(
        torch.empty([sizes[d] if isinstance(d, str) else d for d in spec.shape], dtype=getattr(torch, spec.dtype))
        for spec in inputs
    )
    dynamic = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, d in enumerate(spec.shape) if isinstance(d, str)} for spec in inputs
    )
    with ExitStack() as stack:
        for context in (
            left_as_found(module),
            recurrent_layers_caught(module),
            packing_caught(),
            quiet(),
            torch.no_grad(),
        ):
            stack.enter_context(context)
        try:
            return torch.export.export(entry, tensors, dynamic_shapes=(dynamic,), strict=False)
        except Exception as exc:
            raise tracing_error(exc, inputs, sizes) from exc


def sample_sizes(module: nn.Module, inputs: Sequence[InputSpec]) -> dict[str, int]:
    """Choose a size for every symbolic dimension.

    Multiples of 24 satisfy a module that halves or groups its steps; numbers that are no size of a parameter or input
    tell a frozen size from one that belongs to the module.
    """
    taken = {size for tensor in module.state_dict().values() if isinstance(tensor, Tensor) for size in tensor.shape}
    taken |= {d for spec in inputs for d in spec.shape if isinstance(d, int)}
    names = list(dict.fromkeys(d for spec in inputs for d in spec.shape if isinstance(d, str)))
    free = (24 * k for k in itertools.count(5, 2) if 24 * k not in taken)
    return dict(zip(names, free, strict=False))


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Gather dotted names: `{"hx.0": h, "hx.1": c}` → `{"hx": (h, c)}`, `{"s.h": h}` → `{"s": {"h": h}}`."""
    groups: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, rest = name.partition(".")
        if rest:
            groups.setdefault(head, {})[rest] = value
        else:
            groups[head] = value
    return {head: _container(value) if isinstance(value, dict) else value for head, value in groups.items()}


def _container(items: dict[str, Any]) -> Any:
    inner = nested(items)
    return tuple(inner.values()) if all(key.isdigit() for key in inner) else inner


def _is_by_name(module: nn.Module, inputs: Sequence[InputSpec]) -> bool:
    """Whether the inputs' names are parameters of forward; if none is, they are given in order.

    Raises:
        InputError: The names or their number do not fit.
    """
    signature = inspect.signature(module.forward)
    names = list(nested({spec.name: spec for spec in inputs}))
    shown = f"{type(module).__name__}.forward({', '.join(signature.parameters)})"
    known = [name for name in names if name in signature.parameters]
    if known and (strangers := [name for name in names if name not in signature.parameters]):
        raise InputError(f"input {strangers[0]!r} is no parameter of {shown}")
    try:
        _ = signature.bind(**dict.fromkeys(names)) if known else signature.bind(*names)
    except TypeError as exc:
        raise InputError(f"inputs {', '.join(names)} do not fit {shown}: {exc}") from exc
    return bool(known)


@contextmanager
def left_as_found(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode, and afterwards put back every attribute that the module and its children had."""
    found = [(child, dict(child.__dict__)) for child in module.modules()]
    tables = [(table, dict(table)) for _, state in found for table in state.values() if type(table) is dict]
    for child, _ in found:
        child.__dict__["training"] = False
    try:
        yield
    finally:
        for child, state in found:
            child.__dict__.clear()
            child.__dict__.update(state)
        for table, entries in tables:
            table.clear()
            table.update(entries)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's warnings and log lines off the user's terminal; what matters is raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def dimension_names(program: torch.export.ExportedProgram, inputs: Sequence[InputSpec]) -> dict[str, str]:
    """Return which size variable of the trace is which symbolic dimension: `{"s77": "batch"}`."""
    names: dict[str, str] = {}
    for spec, placeholder in zip(inputs, user_inputs(program), strict=True):
        for dimension, size in zip(spec.shape, placeholder.meta["val"].shape, strict=True):
            if isinstance(dimension, str) and re.fullmatch(r"\w+", str(size)):
                names[str(size)] = dimension
    return names


def user_inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """Return the placeholders of the module's inputs, in order."""
    wanted = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
