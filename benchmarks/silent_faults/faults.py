"""Recurrent models with a fault that nobody is told of: a module, and a file or a runtime that errs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnexport.capture import parse_input_spec

SERIES, TIME_MAJOR, LENGTHS = "x:float32[batch,time,5]", "x:float32[time,batch,5]", "lengths:int64[batch]"
STATE = "float32[1,batch,8]"
EXAMPLE = {"batch": 3, "time": 7}
"""Sizes of the one input that a user gives to an exporter, and to a tool that compares."""
W, R, B, SEQUENCE_LENS, INITIAL_H, INITIAL_C, P = range(1, 8)
DRAWS = "draws random numbers"
"""What `export` says of a module that does."""
Write = Callable[[nn.Module, "Fault", Path], None]


def leave(module: nn.Module, fault: Fault, path: Path) -> None:
    """The file is right."""


@dataclass(frozen=True)
class Fault:
    """A model, where its fault is, and what it should be called."""

    name: str
    make: Callable[[], nn.Module]
    causes: tuple[str, ...]
    """Names that say what it is: of `verify`'s causes, of lint's rules, of failures."""
    write: Write = leave
    """Writes the wrong file over the right one."""
    inputs: tuple[str, ...] = (SERIES,)
    outputs: tuple[str, ...] = ("y",)
    runtime: str = "ort-cpu"
    """A definition's name, or that of an engine in tests/plugins."""
    lengths: Literal["exact", "sequence-lens"] = "exact"
    real: bool = False
    """Made by somebody's exporter or runtime as it comes, not planted."""
    from_file: bool = False
    """Whether rnnexport gets the file alone, not the module, and so has no reference but the file's own."""
    needs_bfloat16: bool = False
    in_8_bits: bool = False
    """Whether the file is rounded on purpose, so that it differs from the module in any case."""

    @property
    def in_runtime(self) -> bool:
        """Whether the file is right, and another runtime than ONNX Runtime wrong."""
        return self.runtime != "ort-cpu"

    def module(self) -> nn.Module:
        """The model, the same at every call."""
        torch.manual_seed(0)
        return self.make().eval()

    def example(self) -> dict[str, NDArray[Any]]:
        """One input of every kind: a batch of series, of different lengths where the model takes lengths."""
        generator = np.random.default_rng(0)
        arrays: dict[str, NDArray[Any]] = {}
        for spec in map(parse_input_spec, self.inputs):
            shape = [EXAMPLE[d] if isinstance(d, str) else d for d in spec.shape]
            values = generator.standard_normal(shape).astype(np.float32)
            arrays[spec.name] = np.array([7, 2, 4]) if spec.name == "lengths" else values
        return arrays

    def tensors(self) -> tuple[Tensor, ...]:
        """The example for PyTorch."""
        return tuple(torch.from_numpy(array) for array in self.example().values())

    def answers(self) -> dict[str, NDArray[Any]]:
        """What the module says to the example."""
        with torch.inference_mode():
            given = self.module()(*self.tensors())
            tensors = [given] if isinstance(given, Tensor) else given
        return dict(zip(self.outputs, (t.numpy() for t in tensors), strict=True))


# Models --------------------------------------------------------------------------------------------------------------


class Model(nn.Module):
    """A recurrent layer, or some, and what is done with them."""

    def __init__(self, forward: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = forward, nn.ModuleList(layers)

    def forward(self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None) -> Any:
        """Call the function with the layers and as many inputs as there are."""
        return self.function(*self.layers, *(each for each in (first, second, third) if each is not None))


def layer(kind: Callable[..., nn.Module], **options: Any) -> Callable[[], nn.Module]:
    """One layer; every step's output is the model's."""
    return lambda: Model(lambda rnn, x: rnn(x)[0], kind(5, 8, **({"batch_first": True} | options)))


def stepped() -> nn.Module:
    """An LSTM that is handed its states and hands them back."""

    def forward(rnn: Any, x: Tensor, h_0: Tensor, c_0: Tensor) -> Any:
        y, (h_n, c_n) = rnn(x, (h_0, c_0))
        return y, h_n, c_n

    return Model(forward, nn.LSTM(5, 8, batch_first=True))


def flattened() -> nn.Module:
    """A head on all steps at once."""

    def forward(rnn: Any, head: Any, x: Tensor) -> Tensor:
        y = rnn(x)[0]
        return head(y.reshape(x.shape[0] * x.shape[1], -1)).view(x.shape[0], x.shape[1], 2)

    return Model(forward, nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 2))


def packed() -> nn.Module:
    """The last state of series of different lengths."""

    def forward(rnn: Any, x: Tensor, lengths: Tensor) -> Tensor:
        return rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1]

    return Model(forward, nn.GRU(5, 8, batch_first=True))


def streams() -> nn.Module:
    """Streams that go on from their states, each with as many new steps as it has."""

    def forward(rnn: Any, x: Tensor, lengths: Tensor, h_0: Tensor) -> Tensor:
        return rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), h_0)[1]

    return Model(forward, nn.GRU(5, 8, batch_first=True))


def side_by_side() -> nn.Module:
    """Two layers that read one input."""
    return Model(lambda first, second, x: first(x)[0] + second(x)[0], nn.GRU(5, 8), nn.LSTM(5, 8))


def headed() -> nn.Module:
    """A head on each step."""
    return Model(lambda rnn, head, x: head(rnn(x)[0]), nn.GRU(5, 8, batch_first=True), nn.Linear(8, 2))


def normalized() -> nn.Module:
    """An LSTM on normalised channels, as it stands after training: their mean is 10."""
    norm = nn.BatchNorm1d(5)
    nn.init.constant_(norm.running_mean, 10.0)  # type: ignore[arg-type]
    return Model(
        lambda norm, rnn, x: rnn(norm(x.transpose(1, 2)).transpose(1, 2))[0], norm, nn.LSTM(5, 8, batch_first=True)
    )


def drawing(draw: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    """A GRU on what a function makes of its input."""
    return lambda: Model(lambda rnn, x: rnn(draw(x))[0], nn.GRU(5, 8, batch_first=True))


# Ways to a wrong file ------------------------------------------------------------------------------------------------


def dynamic_axes(fault: Fault) -> list[dict[int, str]]:
    """The dynamic dimensions of each input."""
    shapes = [parse_input_spec(text).shape for text in fault.inputs]
    return [{axis: name for axis, name in enumerate(shape) if isinstance(name, str)} for shape in shapes]


def dynamic_shapes(fault: Fault) -> list[dict[int, Any]]:
    """The same as `torch.onnx.export(dynamo=True)` wants them."""
    return [dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in dynamic_axes(fault)]


def stock(module: nn.Module, fault: Fault, path: Path, *, dynamo: bool = True, **more: Any) -> None:
    """PyTorch's own exporter, with every dynamic dimension declared."""
    inputs, outputs = list(fault.example()), list(fault.outputs)
    options: dict[str, Any] = {"dynamic_axes": dict(zip(inputs, dynamic_axes(fault), strict=True))} | more
    if dynamo:
        options = {"dynamic_shapes": dynamic_shapes(fault), "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, fault.tensors(), str(path), dynamo=dynamo, input_names=inputs, output_names=outputs, **options
        )


def exporting(change: Callable[[Any], None]) -> Write:
    """PyTorch's older exporter, on a copy of the module that a user got wrong."""

    def write(module: nn.Module, fault: Fault, path: Path) -> None:
        twin = copy.deepcopy(module)
        change(twin)
        stock(twin, fault, path, dynamo=False)

    return write


def time_major(twin: Any) -> None:
    """batch_first=True was forgotten."""
    twin.layers[0].batch_first = False


def one_call(twin: Any) -> None:
    """The first step in place of the series."""
    twin.function = lambda rnn, x: rnn(x[:, :1])[0].expand(-1, x.shape[1], -1)


def number_of_rows(twin: Any) -> None:
    """The size of the batch as a Python number, which tracing takes for a constant."""
    twin.function = lambda rnn, x: rnn(x, torch.zeros(1, int(x.shape[0]), 8))[0]


def altering(change: Callable[[onnx.NodeProto, dict[str, NDArray[Any]]], None]) -> Write:
    """The right file with another recurrent node: `change(node, weights)`, the weights by name."""

    def write(module: nn.Module, fault: Fault, path: Path) -> None:
        model = onnx.load(path)
        (node,) = (node for node in model.graph.node if node.op_type in ("LSTM", "GRU"))
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        change(node, weights)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights[tensor.name]), tensor.name))
        onnx.save(model, path)

    return write


def other_form(node: onnx.NodeProto, _: dict[str, NDArray[Any]]) -> None:
    """As onnxscript wrote every nn.GRU before 0.7.1."""
    (form,) = (a for a in node.attribute if a.name == "linear_before_reset")
    form.i = 0


def reorder(order: list[int], which: tuple[int, ...], node: onnx.NodeProto, weights: dict[str, NDArray[Any]]) -> None:
    """The gates in another order."""
    for index in which:
        array = weights[node.input[index]]
        blocks = array.reshape(len(array), 2 if index == B else 1, len(order), -1)
        weights[node.input[index]] = blocks[:, :, order].reshape(array.shape)


def swap_halves(node: onnx.NodeProto, weights: dict[str, NDArray[Any]]) -> None:
    """bias_hh before bias_ih."""
    weights[node.input[B]] = np.roll(weights[node.input[B]], weights[node.input[B]].shape[1] // 2, axis=1)


def swap_directions(node: onnx.NodeProto, weights: dict[str, NDArray[Any]]) -> None:
    """The reverse direction first."""
    for index in (W, R, B):
        weights[node.input[index]] = weights[node.input[index]][::-1]


def peepholes(module: nn.Module, fault: Fault, path: Path) -> None:
    """A file of operator set 13, whose LSTM has peepholes, which PyTorch's has not."""
    stock(module, fault, path, dynamo=False, opset_version=13)
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3 * 8), np.float32), "P"))
    node.input[:] = [*node.input, *[""] * (P - len(node.input)), "P"]
    onnx.save(model, path)


def in_8_bits(module: nn.Module, fault: Fault, path: Path) -> None:
    """What ONNX Runtime's own tool makes of the file."""
    from onnxruntime.quantization import quantize_dynamic  # noqa: TID251 - as people use it

    stock(module, fault, path, dynamo=False)
    quantize_dynamic(path, path)


def swap_states(node: onnx.NodeProto, _: dict[str, NDArray[Any]]) -> None:
    """The cell state before the hidden state."""
    node.input[INITIAL_H], node.input[INITIAL_C] = node.input[INITIAL_C], node.input[INITIAL_H]


def drop_lengths(node: onnx.NodeProto, _: dict[str, NDArray[Any]]) -> None:
    """Lengths are an input of the graph, and nobody reads them."""
    node.input[SEQUENCE_LENS] = ""


PACKED: dict[str, Any] = {"inputs": (SERIES, LENGTHS), "lengths": "sequence-lens"}
PYTORCH_LSTM, PYTORCH_GRU = [0, 2, 3, 1], [1, 0, 2]

FAULTS = [
    Fault("a GRU of the other form", layer(nn.GRU), ("other GRU form",), altering(other_form)),
    Fault(
        "gates left in PyTorch's order, LSTM",
        layer(nn.LSTM),
        ("gate order",),
        altering(partial(reorder, PYTORCH_LSTM, (W, R, B))),
    ),
    Fault(
        "gates left in PyTorch's order in R alone, GRU",
        layer(nn.GRU),
        ("gate order",),
        altering(partial(reorder, PYTORCH_GRU, (R,))),
    ),
    Fault("halves of the bias swapped, GRU", layer(nn.GRU), ("bias halves",), altering(swap_halves)),
    Fault(
        "directions swapped",
        layer(nn.LSTM, bidirectional=True),
        ("direction order",),
        altering(swap_directions),
    ),
    Fault(
        "h and c swapped",
        stepped,
        ("state order",),
        altering(swap_states),
        inputs=(SERIES, f"h_0:{STATE}", f"c_0:{STATE}"),
        outputs=("y", "h_n", "c_n"),
    ),
    Fault("padding read as data by the file", packed, ("lengths ignored",), altering(drop_lengths), **PACKED),
    Fault(
        "padding read as data by OpenVINO, dynamic shapes",
        packed,
        ("lengths ignored",),
        runtime="openvino-cpu",
        real=True,
        **PACKED,
    ),
    Fault(
        "the state of a stream without new steps lost",
        streams,
        ("sequence-lens",),
        inputs=(SERIES, LENGTHS, f"h_0:{STATE}"),
        lengths="sequence-lens",
        real=True,
    ),
    Fault(
        "batch taken for time",
        layer(nn.LSTM),
        ("batch-major mistaken for time-major",),
        exporting(time_major),
    ),
    Fault(
        "only the first step computed",
        layer(nn.LSTM),
        ("only the first time step computed", "ignored-steps"),
        exporting(one_call),
    ),
    Fault(
        "only the first step computed, the file alone",
        layer(nn.LSTM),
        ("ignored-steps",),
        exporting(one_call),
        from_file=True,
    ),
    Fault(
        "time frozen by `torch.onnx.export`, time-major input",
        layer(nn.LSTM, batch_first=False),
        ("time axis frozen",),
        stock,
        inputs=(TIME_MAJOR,),
        real=True,
    ),
    Fault("time frozen by `torch.onnx.export`, reshape", flattened, ("time axis frozen",), stock, real=True),
    Fault(
        "batch frozen by `dynamo=False`", layer(nn.GRU), ("batch axis frozen",), exporting(number_of_rows), real=True
    ),
    Fault(
        "invalid file by `torch.onnx.export`, `proj_size`",
        layer(nn.LSTM, proj_size=3),
        ("does-not-load",),
        stock,
        real=True,
    ),
    Fault(
        "two layers side by side mixed up by OpenVINO",
        side_by_side,
        ("side-by-side",),
        partial(stock, dynamo=False),
        inputs=(TIME_MAJOR,),
        runtime="openvino-cpu",
        real=True,
    ),
    Fault(
        "peepholes ignored by OpenVINO, behind a BatchNormalization of operator set 13, the file alone",
        normalized,
        ("layer options ignored", "ignored-by-openvino"),
        peepholes,
        runtime="openvino-cpu",
        real=True,
        from_file=True,
    ),
    Fault(
        "`F.dropout` that stays on in evaluation",
        drawing(nn.functional.dropout),
        (DRAWS, "training-mode", "random"),
        stock,
        real=True,
    ),
    Fault(
        "noise by `torch.randn_like`",
        drawing(lambda x: x + 0.1 * torch.randn_like(x)),
        (DRAWS, "random"),
        stock,
        real=True,
    ),
    Fault(
        "8 bits by `quantize_dynamic`, which overflow on CPUs without VNNI, the file alone",
        headed,
        ("saturates",),
        in_8_bits,
        real=True,
        from_file=True,
        in_8_bits=True,
    ),
    Fault(
        "bf16 chosen by OpenVINO",
        layer(nn.LSTM),
        ("bf16 arithmetic",),
        runtime="default-precision",
        real=True,
        needs_bfloat16=True,
    ),
    Fault(
        "weights rounded to fp16 by `openvino.save_model`",
        layer(nn.GRU),
        ("weights stored in fp16",),
        runtime="compressed",
        real=True,
    ),
    Fault("the answer of an earlier call", layer(nn.GRU), ("stale or undefined output",), runtime="stale"),
    Fault("a runtime that crashes", layer(nn.GRU), ("crash",), runtime="dying"),
]
CONTROLS = [
    Fault("control: LSTM, bidirectional", layer(nn.LSTM, bidirectional=True), ()),
    Fault("control: GRU, as `torch.onnx.export` writes it", layer(nn.GRU), (), stock),
    Fault("control: LSTM with states", stepped, (), inputs=FAULTS[5].inputs, outputs=FAULTS[5].outputs),
]


def find(name: str) -> Fault:
    """The fault or control of that name."""
    return next(fault for fault in FAULTS + CONTROLS if fault.name == name)
