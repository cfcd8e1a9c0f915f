"""How recurrent layers of PyTorch are written in ONNX: one LSTM, GRU or RNN node per layer, whatever found the weights.

1. PyTorch keeps LSTM gates in the order i, f, g, o and GRU gates as r, z, n; ONNX wants i, o, f, c and z, r, h.
2. PyTorch's GRU applies the reset gate after the product with R: `linear_before_reset=1`. The form of Cho et al. (2014)
   applies it before: `linear_before_reset=0`.
3. A bidirectional layer is one node; its forward half comes first, as in PyTorch.
4. ONNX has no LSTM projection. With m_t = o_t ⊙ tanh(c_t) and h_t = P·m_t, the gates need R·h_{t-1} = (R·P)·m_{t-1}:
   an LSTM over m with the recurrent weight R·P, and P applied to its output, is the same function. A given h_0 has no
   m_0; its share R·h_0 reaches the first step through extra input columns that are zero on every other step.
5. Everything here is time-major: x [T, B, I], outputs [T, B, D·H] and states [D, B, H].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.tape import Tape
from torch import Tensor, nn

from rnnexport.models.cells import ResetBeforeGRU
from rnnexport.onnx_files.operators import Recurrent

_ONNX_GATES: dict[Recurrent, tuple[int, ...]] = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


@dataclass(frozen=True, slots=True)
class DirectionWeights:
    """The weights of one direction of one layer, gates in PyTorch order."""

    weight_ih: Tensor
    """[G·H, I]"""
    weight_hh: Tensor
    """[G·H, H], or [G·H, P] with a projection to P"""
    bias_ih: Tensor | None = None
    """[G·H]"""
    bias_hh: Tensor | None = None
    """[G·H]"""
    weight_hr: Tensor | None = None
    """[P, H], the projection of an LSTM"""


@dataclass(frozen=True, slots=True)
class RecurrentLayer:
    """One layer: its name in the graph, its cell, and the weights of its one or two directions."""

    name: str
    cell: Recurrent
    directions: tuple[DirectionWeights, ...]
    linear_before_reset: bool = True
    activation: str = "Tanh"
    """That of an RNN; LSTM and GRU have their own."""


@dataclass(frozen=True, slots=True)
class RecurrentValues:
    """What a layer computes: output [T, B, D·H], h_n [D, B, H], and for an LSTM c_n [D, B, H]."""

    output: ir.Value
    h_n: ir.Value
    c_n: ir.Value | None


def layers_from_module(module: nn.RNNBase, name: str) -> list[RecurrentLayer]:
    """Return the layers of an `nn.LSTM`, `nn.GRU`, `nn.RNN` or `ResetBeforeGRU`, the first one first.

    They are named `NAME.layer0` ….
    """
    cell: Recurrent = "LSTM" if isinstance(module, nn.LSTM) else "RNN" if isinstance(module, nn.RNN) else "GRU"
    reverse = ["", "_reverse"] if module.bidirectional else [""]
    return [
        RecurrentLayer(
            f"{name}.layer{index}",
            cell,
            tuple(_direction(module, f"_l{index}{suffix}") for suffix in reverse),
            linear_before_reset=not isinstance(module, ResetBeforeGRU),
            activation="Relu" if getattr(module, "nonlinearity", "") == "relu" else "Tanh",
        )
        for index in range(module.num_layers)
    ]


def _direction(module: nn.RNNBase, suffix: str) -> DirectionWeights:
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return DirectionWeights(
        **{kind: getattr(module, kind + suffix) for kind in kinds if hasattr(module, kind + suffix)}
    )


def add_layer(
    tape: Tape,
    layer: RecurrentLayer,
    x: ir.Value,
    *,
    sequence_lens: ir.Value | None = None,
    initial_h: ir.Value | None = None,
    initial_c: ir.Value | None = None,
) -> RecurrentValues:
    """Write one recurrent layer.

    Args:
        tape: Where nodes and initializers are written.
        layer: The layer; `layer.name` begins the name of everything written.
        x: Input [T, B, I].
        sequence_lens: Lengths [B], int32; `None` means that all T steps count.
        initial_h: [D, B, H] (or P with a projection); `None` means zeros.
        initial_c: [D, B, H]; `None` means zeros.

    Returns:
        The outputs in PyTorch's layout.
    """
    writer = _LayerWriter(tape, layer)
    projected = layer.directions[0].weight_hr is not None
    if projected and initial_h is not None:
        x = writer.input_with_first_state(x, initial_h, sequence_lens)
        weights, initial_h = (
            [_with_first_state(d, i, len(layer.directions)) for i, d in enumerate(layer.directions)],
            None,
        )
        writer.directions = tuple(weights)
    node_outputs = writer.node(x, sequence_lens, initial_h, initial_c)
    y, h_n = node_outputs[0], node_outputs[1]
    c_n = node_outputs[2] if layer.cell == "LSTM" else None
    if projected:
        y, h_n = writer.projected(y, h_n)
    return RecurrentValues(writer.joined_directions(y), h_n, c_n)


def gates_in_onnx_order(weight: Tensor, cell: Recurrent) -> Tensor:
    """Reorder the rows [G·H, …] of a PyTorch weight or bias."""
    gates = weight.detach().chunk(len(_ONNX_GATES[cell]))
    return torch.cat([gates[gate] for gate in _ONNX_GATES[cell]])


def _recurrent_weight(direction: DirectionWeights) -> Tensor:
    """R, or with a projection R·P: multiplied in float64, so that folding costs no accuracy."""
    if direction.weight_hr is None:
        return direction.weight_hh
    folded = direction.weight_hh.detach().double() @ direction.weight_hr.detach().double()
    return folded.to(direction.weight_hh.dtype)


def _with_first_state(direction: DirectionWeights, index: int, num_directions: int) -> DirectionWeights:
    """Let the input weight read, after x, the first state of each direction: its own through R, the other's not."""
    blank = torch.zeros_like(direction.weight_hh)
    columns = [direction.weight_hh if index == other else blank for other in range(num_directions)]
    return DirectionWeights(
        torch.cat([direction.weight_ih, *columns], dim=1).detach(),
        direction.weight_hh,
        direction.bias_ih,
        direction.bias_hh,
        direction.weight_hr,
    )


class _LayerWriter:
    """Writes the nodes of one layer under its name."""

    def __init__(self, tape: Tape, layer: RecurrentLayer) -> None:
        self.tape, self.layer, self.directions = tape, layer, layer.directions

    def initializer(self, name: str, tensor: Tensor | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> ir.Value:
        name = f"{self.layer.name}.{name}"
        return self.tape.initializer(ir.tensor(tensor, name=name), name)

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], name: str, **attributes: int | Sequence[int]
    ) -> ir.Value:
        name = f"{self.layer.name}.{name}"
        return self.tape.op(op_type, inputs, attributes, name=name, output=ir.Value(name=name))

    def node(
        self, x: ir.Value, lengths: ir.Value | None, initial_h: ir.Value | None, initial_c: ir.Value | None
    ) -> list[ir.Value]:
        """The node itself: Y [T, D, B, H], Y_h and Y_c [D, B, H]."""
        layer = self.layer
        inputs: list[ir.Value | None] = [x, *self.weights(), lengths, initial_h]
        attributes: dict[str, int | str | Sequence[str]] = {
            "hidden_size": _recurrent_weight(self.directions[0]).shape[1]
        }
        attributes["direction"] = "bidirectional" if len(self.directions) == 2 else "forward"
        names = ["Y", "Y_h"]
        if layer.cell == "LSTM":
            inputs.append(initial_c)
            names.append("Y_c")
        elif layer.cell == "RNN":
            attributes["activations"] = [layer.activation] * len(self.directions)
        else:
            attributes["linear_before_reset"] = int(layer.linear_before_reset)
        while inputs[-1] is None:
            inputs.pop()
        outputs = [ir.Value(name=f"{layer.name}.{name}") for name in names]
        self.tape.op_multi_out(layer.cell, inputs, attributes, outputs=outputs, name=layer.name)
        return outputs

    def weights(self) -> list[ir.Value | None]:
        """W [D, G·H, I], R [D, G·H, H] and B [D, 2·G·H], or no B for a layer without bias."""
        cell = self.layer.cell
        biases = [
            torch.cat([gates_in_onnx_order(bias, cell) for bias in (d.bias_ih, d.bias_hh)])
            for d in self.directions
            if d.bias_ih is not None and d.bias_hh is not None
        ]
        b = self.initializer("B", torch.stack(biases)) if biases else None
        return [self.matrix("W", lambda d: d.weight_ih), self.matrix("R", _recurrent_weight), b]

    def matrix(self, name: str, weight: Callable[[DirectionWeights], Tensor]) -> ir.Value:
        """A weight of all directions, put into ONNX's order when it is written: a large model is not held twice."""
        first = weight(self.directions[0]).detach()
        name = f"{self.layer.name}.{name}"

        def in_onnx_order() -> ir.TensorProtocol:
            return ir.tensor(torch.stack([gates_in_onnx_order(weight(d), self.layer.cell) for d in self.directions]))

        dtype, shape = ir.tensor(first).dtype, ir.Shape([len(self.directions), *first.shape])
        return self.tape.initializer(ir.LazyTensor(in_onnx_order, dtype, shape, name=name), name)

    def joined_directions(self, y: ir.Value) -> ir.Value:
        """[T, D, B, H] → [T, B, D·H]. A zero in Reshape's shape copies the dimension, so nothing is frozen."""
        if len(self.directions) == 1:
            return self.op("Squeeze", [y, self.initializer("direction_axis", np.array([1]))], "output")
        time_batch = self.op("Transpose", [y], "by_batch", perm=[0, 2, 1, 3])
        return self.op("Reshape", [time_batch, self.initializer("joined_shape", np.array([0, 0, -1]))], "output")

    def projected(self, y: ir.Value, h_n: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Apply each direction's P to Y [T, D, B, H] and Y_h [D, B, H]."""
        projections = [d.weight_hr.detach().T for d in self.directions if d.weight_hr is not None]
        p = self.initializer("P", torch.stack(projections).contiguous())
        return self.op("MatMul", [y, p], "projected_Y"), self.op("MatMul", [h_n, p], "projected_Y_h")

    def input_with_first_state(self, x: ir.Value, initial_h: ir.Value, lengths: ir.Value | None) -> ir.Value:
        """Append to x [T, B, I] the columns of h_0 [D, B, P], each non-zero only on its direction's first step."""
        zero = self.initializer("zero", torch.zeros((), dtype=self.directions[0].weight_ih.dtype))
        columns = []
        for direction in range(len(self.directions)):
            index = self.initializer(f"direction_{direction}", np.array([direction]))
            state = self.op("Gather", [initial_h, index], f"h_0_{direction}", axis=0)
            is_first = self.is_first_step(x, lengths, direction)
            columns.append(self.op("Where", [is_first, state, zero], f"h_0_column_{direction}"))
        return self.op("Concat", [x, *columns], "input_and_h_0", axis=2)

    def is_first_step(self, x: ir.Value, lengths: ir.Value | None, direction: int) -> ir.Value:
        """[T, B or 1, 1]: whether a step is the first that this direction reads; the last valid one in reverse."""
        prefix = f"first_step_{direction}"
        one = self.initializer(f"{prefix}_one", np.array(1))
        zero = self.initializer(f"{prefix}_zero", np.array(0))
        steps = self.op("Squeeze", [self.op("Shape", [x], f"{prefix}_time", start=0, end=1)], f"{prefix}_steps")
        axes = self.initializer(f"{prefix}_axes", np.array([1, 2]))
        step = self.op("Unsqueeze", [self.op("Range", [zero, steps, one], f"{prefix}_range"), axes], f"{prefix}_step")
        if direction == 0:
            return self.op("Equal", [step, zero], prefix)
        last = self.op("Sub", [steps, one], f"{prefix}_last")
        if lengths is not None:
            long = self.op("Cast", [lengths], f"{prefix}_lengths", to=ir.DataType.INT64)
            axis = self.initializer(f"{prefix}_axis", np.array([1]))
            last = self.op("Unsqueeze", [self.op("Sub", [long, one], f"{prefix}_ends"), axis], f"{prefix}_last_valid")
        return self.op("Equal", [step, last], prefix)
