"""A TorchScript module as a module of Python, operator by operator, so that it can be traced like any other.

1. The graph is that of `forward` with all calls inlined. Branches and loops run as Python's: a branch on a size or on a
   value is then judged as in a module's code, and so is a loop over time.
2. Sizes may be symbols, so what the graph computes with numbers is computed by Python, and with tensors by PyTorch.
3. Only PyTorch's operators of tensors run: none that reads or writes a file, none of other libraries.
"""

from __future__ import annotations

import inspect
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from rnnexport.errors import ExportError, InputError


def module_of_script(script: torch.jit.ScriptModule | torch.jit.ScriptFunction[Any, Any]) -> nn.Module:
    """Return a module that computes what `script` does, with its parameters and the names of forward's own.

    Raises:
        InputError: It has no forward.
    """
    if isinstance(script, torch.jit.ScriptModule) and not hasattr(script, "forward"):
        raise InputError(
            f"the TorchScript module {script.original_name} has no forward, as an nn.LSTM or nn.GRU that was scripted "
            "alone has none; script a module whose forward calls it"
        )
    function: Any = script.forward if isinstance(script, torch.jit.ScriptModule) else script
    signature = inspect.Signature(
        [
            inspect.Parameter(
                argument.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=argument.default_value if argument.has_default_value() else inspect.Parameter.empty,
            )
            for argument in function.schema.arguments
        ]
    )
    if function is script:
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        signature = signature.replace(parameters=[own, *signature.parameters.values()])

    def forward(self: ScriptedModule, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        return self.run(list(bound.arguments.values()))

    forward.__signature__ = signature  # type: ignore[attr-defined]
    name = str(script.original_name if isinstance(script, torch.jit.ScriptModule) else function.name)
    made: ScriptedModule = type(name, (ScriptedModule,), {"forward": forward})()
    made.graph = _Shared(script.inlined_graph)
    if isinstance(script, torch.jit.ScriptModule):
        made.take_over(script)
    return made


class _Shared:
    """What belongs to TorchScript, of which no copy of a module needs a copy."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class _Part(nn.Module):
    """One module of the script: its parameters, buffers and children; its other attributes stay where they are."""

    script: _Shared
    names: _Shared
    """Of its own tensors, by where PyTorch keeps them: scripts keep lists of them, such as the weights of an LSTM."""

    def take_over(self, script: torch.jit.ScriptModule) -> None:
        """Have what `script` has."""
        self.training = script.training
        own = {**dict(script.named_parameters(recurse=False)), **dict(script.named_buffers(recurse=False))}
        for name, parameter in script.named_parameters(recurse=False):
            self.register_parameter(name, nn.Parameter(parameter.detach(), requires_grad=False))
        for name, buffer in script.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        for name, child in script.named_children():
            part = _Part()
            self.add_module(name, part)
            part.take_over(cast(torch.jit.ScriptModule, child))
        self.script, self.names = _Shared(script._c), _Shared({tensor._cdata: name for name, tensor in own.items()})

    def attribute(self, name: str) -> Any:
        """Read an attribute as the graph does."""
        if hasattr(self, name):
            return getattr(self, name)
        value = self.script.value.getattr(name)
        if isinstance(value, list) and all(isinstance(item, Tensor) for item in value):
            return [getattr(self, self.names.value[item._cdata]) for item in value]
        return value


class ScriptedModule(_Part):
    """Runs the graph of a TorchScript module."""

    graph: _Shared

    def run(self, inputs: Sequence[Any]) -> Any:
        """Run the graph on forward's arguments, this module the first of them."""
        graph = self.graph.value
        names = [value.debugName() for value in graph.inputs()]
        run = _GraphRun(dict(zip(names, inputs[-len(names) :], strict=True)))
        results = run.block(graph.nodes(), graph.outputs())
        return results[0] if len(results) == 1 else tuple(results)


class _GraphRun:
    """One run through a graph: the values that are known so far, by name."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def block(self, nodes: Iterable[Any], outputs: Iterable[Any]) -> list[Any]:
        for node in nodes:
            results = self.node(node)
            for value, result in zip(node.outputs(), results, strict=True):
                self.known[value.debugName()] = result
        return [self.known[value.debugName()] for value in outputs]

    def node(self, node: Any) -> Sequence[Any]:
        """The results of a node."""
        kind = node.kind()
        if kind == "prim::Constant":
            value = node.output()
            return [None if value.type().kind() == "NoneType" else value.toIValue()]
        inputs = [self.known[value.debugName()] for value in node.inputs()]
        if kind == "prim::If":
            chosen = list(node.blocks())[0 if inputs[0] else 1]
            return self.block(chosen.nodes(), chosen.outputs())
        if kind == "prim::Loop":
            return self.loop(node, *inputs)
        if kind == "prim::GetAttr":
            return [inputs[0].attribute(node.s("name"))]
        if kind == "prim::SetAttr":
            setattr(inputs[0], node.s("name"), inputs[1])
            return []
        if kind in ("prim::TupleUnpack", "prim::ListUnpack"):
            return list(inputs[0])
        if kind == "prim::DictConstruct":
            return [dict(zip(inputs[::2], inputs[1::2], strict=True))]
        if kind in _PRIMITIVES:
            return [_PRIMITIVES[kind](inputs)][: node.outputsSize()]
        return self.operator(node, kind, inputs)

    def loop(self, node: Any, most: Any, goes_on: Any, *carried: Any) -> list[Any]:
        """Run a loop as Python would: `most` steps, while its condition holds."""
        (body,) = node.blocks()
        names = [value.debugName() for value in body.inputs()]
        values = list(carried)
        for step in itertools.count() if type(most) is int and most >= _ENDLESS else range(most):
            if not goes_on:
                break
            self.known.update(zip(names, [step, *values], strict=True))
            goes_on, *values = self.block(body.nodes(), body.outputs())
        return values

    def operator(self, node: Any, kind: str, inputs: list[Any]) -> Sequence[Any]:
        """Compute with tensors by PyTorch, with anything else by Python.

        Raises:
            ExportError: It is no operator of either.
        """
        space, _, name = kind.partition("::")
        by_python = _OF_NUMBERS.get(name)
        if space == "aten" and by_python is not None and (name in _ALWAYS or not _holds_tensors(inputs)):
            return [by_python(*inputs)][: node.outputsSize()]
        if space != "aten" or name in _OF_FILES:
            raise ExportError(f"{_place(node)}TorchScript's {kind} is no operator of a graph; give the module instead")
        schema = torch._C.parse_schema(node.schema())
        overload = getattr(getattr(torch.ops.aten, name), schema.overload_name or "default")
        given = [
            torch.scalar_tensor(value) if str(argument.type) == "Tensor" and isinstance(value, int | float) else value
            for argument, value in zip(schema.arguments, inputs, strict=True)
        ]
        by_name = {a.name: value for a, value in zip(schema.arguments, given, strict=True) if a.kwarg_only}
        results = overload(*given[: len(given) - len(by_name)], **by_name)
        return results if node.outputsSize() > 1 else [results]


def _place(node: Any) -> str:
    """`file:line: ` of the code that a node was made from, or nothing."""
    place = node.sourceRange().strip().splitlines()
    found = [line for line in place if line.strip().startswith('File "')]
    if not found:
        return ""
    file, _, rest = found[-1].strip().removeprefix('File "').partition('"')
    return f"{file}:{rest.split()[-1]}: "


def _holds_tensors(values: Iterable[Any]) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, list | tuple) and _holds_tensors(v)) for v in values)


def _raise(inputs: Sequence[Any]) -> Any:
    raise RuntimeError(str(inputs[0]))


def _whole(value: Any) -> Any:
    """An integer; what is a symbol stays one."""
    return value if isinstance(value, int | torch.SymInt) else math.trunc(value) if _is_number(value) else int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, float | torch.SymFloat)


def _size(tensor: Tensor, axis: int | None = None) -> Any:
    return list(tensor.shape) if axis is None else tensor.shape[axis]


def _part_of(items: Any, start: Any = None, stop: Any = None, step: Any = 1) -> Any:
    return items[start:stop:step]


def _appended(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _extended(items: list[Any], others: list[Any]) -> list[Any]:
    items.extend(others)
    return items


def _set_item(items: Any, place: Any, item: Any) -> Any:
    items[place] = item
    return items


def _first(inputs: Sequence[Any]) -> Any:
    return inputs[0]


_ENDLESS = 2**31 - 1
_OF_FILES = {"save", "from_file", "as_tensor", "set_data"}
_PRIMITIVES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "prim::ListConstruct": list,
    "prim::TupleConstruct": tuple,
    "prim::TupleIndex": lambda inputs: inputs[0][inputs[1]],
    "prim::NumToTensor": _first,
    "prim::unchecked_cast": _first,
    "prim::data": _first,
    "prim::RaiseException": _raise,
    "prim::Uninitialized": lambda _: None,
    "prim::Print": lambda _: None,
    "prim::device": lambda inputs: inputs[0].device,
    "prim::dtype": lambda inputs: inputs[0].dtype,
    "prim::layout": lambda inputs: inputs[0].layout,
    "prim::is_cuda": lambda inputs: inputs[0].is_cuda,
    "prim::max": lambda inputs: max(inputs) if len(inputs) > 1 else max(inputs[0]),
    "prim::min": lambda inputs: min(inputs) if len(inputs) > 1 else min(inputs[0]),
}
"""Made of TorchScript's own values alone. A size stays a number where the graph makes a tensor of it."""
_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "sym_size": _size,
    "dim": lambda tensor: tensor.dim(),
    "len": lambda items: len(items) if not isinstance(items, Tensor) else items.shape[0],
    "Int": _whole,
    "Float": lambda value: value if _is_number(value) else float(value),
    "Bool": bool,
    "IntImplicit": _whole,
    "ScalarImplicit": lambda value: value if not isinstance(value, Tensor) else value.item(),
    "append": _appended,
    "extend": _extended,
    "_set_item": _set_item,
    "__getitem__": operator.getitem,
    "__contains__": operator.contains,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "__not__": operator.not_,
    "list": list,
    "format": lambda text, *values: text.format(*values),
    "warn": lambda *_: None,
    "is_floating_point": lambda tensor: tensor.is_floating_point(),
    "add": operator.add,
    "add_": operator.iadd,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "slice": _part_of,
    "sqrt": math.sqrt,
    "ceil": math.ceil,
    "floor": math.floor,
}
_ALWAYS = {
    *("size", "sym_size", "dim", "len", "Int", "Float", "Bool", "IntImplicit", "ScalarImplicit", "append", "extend"),
    *("_set_item", "__getitem__", "__is__", "__isnot__", "__contains__", "list", "format", "warn"),
    "is_floating_point",
}
"""Computed by Python although tensors are among the operands."""
