"""Functions that the tracer freezes, or that have no ONNX form, written with others that have one.

1. `max_pool1d` turns its length into a number; over two axes it does not.
2. Attention over [batch, time, features] has an ONNX form with heads only.
3. `embedding_bag` of full rows is an embedding and its sum, mean or maximum.
4. `item()` and the truth of a buffer are constants: code may branch on them.
5. `x.data` of what a trace computes is no part of it; `x.detach()` is the same tensor.
6. `torch.lstm` and its like, which scripts, exported programs and forwards bound before the trace call, are layers
   (`interception.py`).
7. `lengths.tolist()` and `lengths.numpy()` stand for the tensor (`tensor_values.py`).
8. `lengths.max().item()` is one number (`longest.py`), and `len(x)` a size (`integers.py`).
9. `squeeze` of an axis that is no single place leaves it; ONNX's operator refuses it.
10. The numbers of `torch.arange(3)` are known: code may hand them on as axes.
11. `log_sigmoid` is written with softplus: the logarithm of a sigmoid is -inf far from 0.
12. Adaptive pooling to one place is a mean or maximum; PyTorch's form of it freezes the size.
13. `torch.stft` and `torch.istft` are convolutions (`spectra.py`).
14. `cumprod` and `logcumsumexp` go from place to place (`cumulative.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import SymInt, Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from rnnexport.capture.cumulative import cumprod, logcumsumexp
from rnnexport.capture.integers import SymbolicRange
from rnnexport.capture.interception import called_layer
from rnnexport.capture.longest import Longest, ask_for_symbolic_integer
from rnnexport.capture.spectra import istft, stft
from rnnexport.capture.tensor_values import Numbers, are_of_any_size


class Substitutes(TorchFunctionMode):
    """Calls the substitutes of this file in place of what a module calls.

    Args:
        module: The module, before it is traced.
        before_call: Called before each function.
        longest: Knows the numbers that are the length of the longest row.
    """

    def __init__(self, module: nn.Module, before_call: Callable[[], None], longest: Longest) -> None:
        super().__init__()
        self.longest = longest
        self.module, self.before_call = module, before_call
        self.values = {name: buffer for name, buffer in module.named_buffers() if buffer.numel() == 1}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.before_call()
        if func in (Tensor.item, Tensor.__bool__) and self.values:
            for name, buffer in self.module.named_buffers():  # in a trace, stand-ins of the same names
                if buffer is args[0] and name in self.values:
                    return func(self.values[name])
        if func is Tensor.numpy and are_of_any_size(args[0]):
            return Numbers(args[0])
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], tree_map(_tensor_of_range, args[1]), *args[2:])
        if func in _FROM_NUMBERS and args and isinstance(args[0], SymbolicRange):
            args = (args[0].tensor(), *args[1:])
        if func in _FROM_NUMBERS and args and isinstance(args[0], Numbers):
            return args[0].tensor.to((kwargs or {}).get("dtype") or args[0].tensor.dtype)
        if (cell := _LAYERS.get(func)) and isinstance(args[2], list | tuple):
            return called_layer(cell, self.path_of(args[2][0]), *args, **(kwargs or {}))
        if func is Tensor.item:
            return self.longest.number(args[0], lambda: func(*args))
        is_size = func is Tensor.__len__ and args[0].dim() and isinstance(args[0].shape[0], SymInt)
        if is_size or (func is Tensor.__int__ and self.longest.is_one(args[0])):
            ask_for_symbolic_integer()
        result = (_TABLE.get(func) or func)(*args, **(kwargs or {}))
        if func is torch.arange and all(type(arg) is int for arg in args):
            result.known_numbers = [*range(*args)]
        self.longest.note(func, args, kwargs or {}, result)
        return result

    def path_of(self, weight: Tensor) -> str:
        """The path of the module that a weight belongs to."""
        names = (name for name, parameter in self.module.named_parameters() if parameter is weight)
        return next(names, "").rpartition(".")[0]


def _tensor_of_range(index: Any) -> Any:
    return index.tensor() if isinstance(index, SymbolicRange) else index


def _max_pool1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    kernel, step, pad, gap = (_one(value) for value in (kernel_size, stride or kernel_size, padding, dilation))
    pool = functional.max_pool2d_with_indices if return_indices else functional.max_pool2d
    pooled: Any = pool(x.unsqueeze(-2), (1, kernel), (1, step), (0, pad), (1, gap), ceil_mode)
    return tuple(part.squeeze(-2) for part in pooled) if return_indices else pooled.squeeze(-2)


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) else value


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kw: Any
) -> Any:
    attention = functional.scaled_dot_product_attention
    if query.dim() != 3:
        return attention(query, key, value, attn_mask, *args, **kw)
    if attn_mask is not None and attn_mask.dim() == 3:
        attn_mask = attn_mask.unsqueeze(1)
    return attention(query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), attn_mask, *args, **kw).squeeze(1)


def _squeezed(x: Tensor, dim: Any = None) -> Tensor:
    if dim is None:
        return torch.squeeze(x)
    axes = [axis for axis in (dim if isinstance(dim, tuple | list) else (dim,)) if type(x.shape[axis]) is int]
    single = [axis for axis in axes if x.shape[axis] == 1]
    if len(single) == 1:
        return torch.squeeze(x, single[0])
    return torch.squeeze(x, single) if single else x


def _pooled(name: str, axes: int, over: Callable[..., Tensor]) -> Callable[..., Any]:
    """Adaptive pooling over the last `axes` axes, where each becomes one place or stays as it is."""
    original = getattr(functional, name)

    def pool(input: Tensor, output_size: Any, *rest: Any, **kw: Any) -> Any:
        sizes = list(output_size) if isinstance(output_size, tuple | list) else [output_size] * axes
        if any(rest) or any(kw.values()) or not all(size in (1, None) for size in sizes):
            return original(input, output_size, *rest, **kw)
        places = [place - axes for place, size in enumerate(sizes) if size == 1]
        return over(input, places, keepdim=True) if places else input

    return pool


def _embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, *args: Any, **kw: Any) -> Any:
    names = ("max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse", "per_sample_weights")
    given = {**dict(zip(names, args, strict=False)), **kw}
    if offsets is not None or given.get("max_norm") is not None or given.get("padding_idx") is not None:
        return functional.embedding_bag(input, weight, offsets, *args, **kw)
    rows = functional.embedding(input, weight)
    if (weights := given.get("per_sample_weights")) is not None:
        rows = rows * weights.unsqueeze(-1)
    mode = given.get("mode", "mean")
    return rows.amax(1) if mode == "max" else rows.sum(1) if mode == "sum" else rows.mean(1)


_LAYERS: dict[Any, str] = {
    function: cell
    for name, cell in (("lstm", "LSTM"), ("gru", "GRU"), ("rnn_tanh", "RNN"), ("rnn_relu", "RNN, relu"))
    for function in (getattr(torch, name), getattr(torch.ops.aten, name).input)
}
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.from_numpy}
_TABLE: dict[Any, Callable[..., Any]] = {
    Tensor.data.__get__: Tensor.detach,  # type: ignore[attr-defined]
    functional.max_pool1d: _max_pool1d,
    torch.max_pool1d: _max_pool1d,
    functional.scaled_dot_product_attention: _attention,
    functional.embedding_bag: _embedding_bag,
    functional.logsigmoid: lambda x: -functional.softplus(-x),
    torch.squeeze: _squeezed,
    Tensor.squeeze: _squeezed,
    functional.adaptive_avg_pool1d: _pooled("adaptive_avg_pool1d", 1, torch.mean),
    functional.adaptive_avg_pool2d: _pooled("adaptive_avg_pool2d", 2, torch.mean),
    functional.adaptive_max_pool1d: _pooled("adaptive_max_pool1d", 1, torch.amax),
    functional.adaptive_max_pool2d: _pooled("adaptive_max_pool2d", 2, torch.amax),
    torch.stft: stft,
    Tensor.stft: stft,
    torch.istft: istft,
    Tensor.istft: istft,
    torch.cumprod: cumprod,
    Tensor.cumprod: cumprod,
    torch.logcumsumexp: logcumsumexp,
    Tensor.logcumsumexp: logcumsumexp,
}
