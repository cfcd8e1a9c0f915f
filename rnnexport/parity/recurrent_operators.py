"""The ONNX operators LSTM, GRU and RNN in float64, straight from the operator specification.

Source: https://onnx.ai/onnx/operators, LSTM-22, GRU-22 and RNN-22; the equations are those of opset 7, 14 and 22 alike.
Nothing here is shared with what exports or rewrites a graph, and nothing is arranged for speed, so that it can be held
against the specification line by line. Where that leaves a choice:

1. Y past a row's length is 0, as ONNX Runtime and PyTorch's packed sequences have it. What X holds there is never read.
2. The reverse direction reads each row from its last valid step to step 0, so its Y_h and Y_c belong to step 0.
3. A row of length 0 keeps its state: Y_h is initial_h and Y_c is initial_c. (ONNX Runtime returns 0.)
4. `clip` bounds the input of the gates' activations f and g, not that of the LSTM's h(C_t). The text, "applied to the
   input of activations", can be read either way; ONNX Runtime and OpenVINO both read it like this.
5. `input_forget` couples the gates as f_t = 1 - i_t. Greff et al. 2017, "LSTM: A Search Space Odyssey", call it CIFG.
6. Alpha and beta go, in the order of `activations` and through both directions, to those functions that take one.

Shapes: T time steps, B batch, I input size, H hidden size, D directions (1 or 2), G gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnexport.errors import InputError, UnknownNameError
from rnnexport.parity.activations import Activation, Float64, bind_activations

Direction = Literal["forward", "reverse", "bidirectional"]
Rounding = Callable[[Float64], Float64]
_Step = Callable[..., tuple[Float64, ...]]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How numbers are rounded on the way; not at all by default. Shows what a narrower precision would give."""

    operand: Rounding = lambda x: x
    """Of both operands of every matrix product."""
    value: Rounding = lambda x: x
    """Of what every activation takes and gives, and of the states."""

    def rounded(self, activation: Activation) -> Activation:
        """The activation of a rounded number, rounded."""
        return lambda x: self.value(activation(self.value(x)))


EXACT = Arithmetic()


def evaluate_lstm(
    x: ArrayLike,
    w: ArrayLike,
    r: ArrayLike,
    b: ArrayLike | None = None,
    sequence_lens: ArrayLike | None = None,
    initial_h: ArrayLike | None = None,
    initial_c: ArrayLike | None = None,
    p: ArrayLike | None = None,
    *,
    direction: Direction = "forward",
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    arithmetic: Arithmetic = EXACT,
) -> tuple[Float64, Float64, Float64]:
    """Compute Y [T, D, B, H], Y_h [D, B, H] and Y_c [D, B, H] of the operator LSTM.

    Args:
        x: X [T, B, I].
        w: W [D, 4H, I], gates in the order i, o, f, c.
        r: R [D, 4H, H].
        b: B [D, 8H]: Wb, then Rb.
        sequence_lens: Valid steps of each row [B].
        initial_h: [D, B, H].
        initial_c: [D, B, H].
        p: Peepholes P [D, 3H], in the order i, o, f.
        direction: The attribute of that name, as are all that follow but the last.
        activations: f, g and h of each direction.
        activation_alpha: See rule 6 of this module.
        activation_beta: See rule 6 of this module.
        clip: See rule 4 of this module.
        hidden_size: H, checked against R.
        input_forget: 1 couples the input and the forget gate.
        layout: 1 puts the batch first in X, Y and all states.
        arithmetic: How numbers are rounded on the way.

    Raises:
        InputError: An activation is unknown or lacks its alpha or beta; H or the number of directions does not fit.
    """
    layer = _Layer.read(x, sequence_lens, r, direction, hidden_size, layout)
    functions = bind_activations(
        activations or ["Sigmoid", "Tanh", "Tanh"] * layer.directions, activation_alpha, activation_beta
    )
    steps = [
        partial(
            _lstm_step,
            w=np.split(w_d, 4),
            r=np.split(r_d, 4),
            b=b_d.reshape(2, 4, -1).sum(axis=0),
            p=np.split(p_d, 3),
            activations=functions[3 * d : 3 * d + 3],
            clip=clip,
            input_forget=bool(input_forget),
            arithmetic=arithmetic,
        )
        for d, (w_d, r_d, b_d, p_d) in enumerate(layer.weights(arithmetic, w, r, (b, 8), (p, 3)))
    ]
    y, (y_h, y_c) = layer.run(steps, direction, initial_h, initial_c)
    return y, y_h, y_c


def evaluate_gru(
    x: ArrayLike,
    w: ArrayLike,
    r: ArrayLike,
    b: ArrayLike | None = None,
    sequence_lens: ArrayLike | None = None,
    initial_h: ArrayLike | None = None,
    *,
    direction: Direction = "forward",
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    hidden_size: int | None = None,
    linear_before_reset: int = 0,
    layout: int = 0,
    arithmetic: Arithmetic = EXACT,
) -> tuple[Float64, Float64]:
    """Compute Y [T, D, B, H] and Y_h [D, B, H] of the operator GRU.

    Args and errors are those of `evaluate_lstm`, with W [D, 3H, I] in the order z, r, h, B [D, 6H], two activations
    (f, g) a direction, and `linear_before_reset`: 1 applies the reset gate after the product with R.
    """
    layer = _Layer.read(x, sequence_lens, r, direction, hidden_size, layout)
    functions = bind_activations(
        activations or ["Sigmoid", "Tanh"] * layer.directions, activation_alpha, activation_beta
    )
    steps = [
        partial(
            _gru_step,
            w=np.split(w_d, 3),
            r=np.split(r_d, 3),
            b=b_d.reshape(2, 3, -1),
            activations=functions[2 * d : 2 * d + 2],
            clip=clip,
            linear_before_reset=bool(linear_before_reset),
            arithmetic=arithmetic,
        )
        for d, (w_d, r_d, b_d) in enumerate(layer.weights(arithmetic, w, r, (b, 6)))
    ]
    y, (y_h,) = layer.run(steps, direction, initial_h)
    return y, y_h


def evaluate_rnn(
    x: ArrayLike,
    w: ArrayLike,
    r: ArrayLike,
    b: ArrayLike | None = None,
    sequence_lens: ArrayLike | None = None,
    initial_h: ArrayLike | None = None,
    *,
    direction: Direction = "forward",
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    hidden_size: int | None = None,
    layout: int = 0,
    arithmetic: Arithmetic = EXACT,
) -> tuple[Float64, Float64]:
    """Compute Y [T, D, B, H] and Y_h [D, B, H] of the operator RNN.

    Args and errors are those of `evaluate_lstm`, with W [D, H, I], B [D, 2H] and one activation a direction.
    """
    layer = _Layer.read(x, sequence_lens, r, direction, hidden_size, layout)
    functions = bind_activations(activations or ["Tanh"] * layer.directions, activation_alpha, activation_beta)
    steps = [
        partial(
            _rnn_step,
            w=w_d,
            r=r_d,
            b=b_d.reshape(2, -1).sum(axis=0),
            activation=functions[d],
            clip=clip,
            arithmetic=arithmetic,
        )
        for d, (w_d, r_d, b_d) in enumerate(layer.weights(arithmetic, w, r, (b, 2)))
    ]
    y, (y_h,) = layer.run(steps, direction, initial_h)
    return y, y_h


OPERATORS: Mapping[str, Callable[..., tuple[Float64, ...]]] = {
    "LSTM": evaluate_lstm,
    "GRU": evaluate_gru,
    "RNN": evaluate_rnn,
}


def evaluate(op_type: str, inputs: Sequence[ArrayLike | None], **attributes: Any) -> tuple[Float64, ...]:
    """Compute all outputs of the operator `op_type` from its inputs, in the operator's order, and its attributes.

    Raises:
        UnknownNameError: `op_type` is no recurrent operator.
        InputError: As `evaluate_lstm`.
    """
    if op_type not in OPERATORS:
        raise UnknownNameError("recurrent operator", op_type, OPERATORS)
    return OPERATORS[op_type](*inputs, **attributes)


def _lstm_step(
    x: Float64,
    h: Float64,
    c: Float64,
    *,
    w: Sequence[Float64],
    r: Sequence[Float64],
    b: Float64,
    p: Sequence[Float64],
    activations: Sequence[Activation],
    clip: float | None,
    input_forget: bool,
    arithmetic: Arithmetic,
) -> tuple[Float64, Float64]:
    """One step of an LSTM: x [B, I], h and c [B, H] → the new h and c."""
    f, g, output_activation = map(arithmetic.rounded, activations)
    (w_i, w_o, w_f, w_c), (r_i, r_o, r_f, r_c), (b_i, b_o, b_f, b_c), (p_i, p_o, p_f) = w, r, b, p
    x, h = arithmetic.operand(x), arithmetic.operand(h)
    i = f(_clip(x @ w_i.T + h @ r_i.T + p_i * c + b_i, clip))
    forget = 1 - i if input_forget else f(_clip(x @ w_f.T + h @ r_f.T + p_f * c + b_f, clip))
    new = g(_clip(x @ w_c.T + h @ r_c.T + b_c, clip))
    c = arithmetic.value(forget * c + i * new)
    o = f(_clip(x @ w_o.T + h @ r_o.T + p_o * c + b_o, clip))
    return arithmetic.value(o * output_activation(c)), c


def _gru_step(
    x: Float64,
    h: Float64,
    *,
    w: Sequence[Float64],
    r: Sequence[Float64],
    b: Float64,
    activations: Sequence[Activation],
    clip: float | None,
    linear_before_reset: bool,
    arithmetic: Arithmetic,
) -> tuple[Float64]:
    """One step of a GRU: x [B, I], h [B, H] → the new h."""
    f, g = map(arithmetic.rounded, activations)
    (w_z, w_r, w_h), (r_z, r_r, r_h), ((wb_z, wb_r, wb_h), (rb_z, rb_r, rb_h)) = w, r, b
    x, factor = arithmetic.operand(x), arithmetic.operand(h)
    update = f(_clip(x @ w_z.T + factor @ r_z.T + wb_z + rb_z, clip))
    reset = f(_clip(x @ w_r.T + factor @ r_r.T + wb_r + rb_r, clip))
    after, before = factor @ r_h.T + rb_h, arithmetic.operand(reset * h) @ r_h.T + rb_h
    recurrent = reset * after if linear_before_reset else before
    new = g(_clip(x @ w_h.T + recurrent + wb_h, clip))
    return (arithmetic.value((1 - update) * new + update * h),)


def _rnn_step(
    x: Float64,
    h: Float64,
    *,
    w: Float64,
    r: Float64,
    b: Float64,
    activation: Activation,
    clip: float | None,
    arithmetic: Arithmetic,
) -> tuple[Float64]:
    """One step of an RNN: x [B, I], h [B, H] → the new h."""
    x, h = arithmetic.operand(x), arithmetic.operand(h)
    return (arithmetic.rounded(activation)(_clip(x @ w.T + h @ r.T + b, clip)),)


def _clip(x: Float64, threshold: float | None) -> Float64:
    return x if threshold is None else np.clip(x, -threshold, threshold)


@dataclass(frozen=True, slots=True)
class _Layer:
    """What the three operators have in common: everything but the step."""

    x: Float64
    """[T, B, I]"""
    lengths: NDArray[np.int64]
    """[B]"""
    hidden_size: int
    directions: int
    batch_first: bool

    @classmethod
    def read(
        cls,
        x: ArrayLike,
        sequence_lens: ArrayLike | None,
        r: ArrayLike,
        direction: str,
        hidden_size: int | None,
        layout: int,
    ) -> _Layer:
        time_major = np.asarray(x, np.float64)
        if layout:
            time_major = time_major.swapaxes(0, 1)
        time_steps, batch_size, _ = time_major.shape
        lengths = np.full(batch_size, time_steps) if sequence_lens is None else np.asarray(sequence_lens, np.int64)
        directions, _, size = np.shape(r)
        expected = 2 if direction == "bidirectional" else 1
        if directions != expected:
            raise InputError(f"direction {direction!r} needs weights of {expected} directions, R has {directions}")
        if hidden_size not in (None, size):
            raise InputError(f"hidden_size is {hidden_size}, but R is made for {size}")
        return cls(time_major, lengths, size, directions, bool(layout))

    def weights(
        self, arithmetic: Arithmetic, w: ArrayLike, r: ArrayLike, *optional: tuple[ArrayLike | None, int]
    ) -> Iterator[tuple[Float64, ...]]:
        """For each direction W, R, and each optional input [D, count·H], zeros where it is missing."""
        given = [
            np.zeros((self.directions, count * self.hidden_size)) if array is None else np.asarray(array, np.float64)
            for array, count in optional
        ]
        factors = [arithmetic.operand(np.asarray(array, np.float64)) for array in (w, r)]
        return zip(*factors, *given, strict=True)

    def run(
        self, steps: Sequence[_Step], direction: str, *initial_states: ArrayLike | None
    ) -> tuple[Float64, list[Float64]]:
        """Run each direction's step over time: Y and the final states, in the node's layout."""
        states = [self._state(state) for state in initial_states]
        backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
        results = [self._run_direction(steps[d], backward[d], [s[d] for s in states]) for d in range(len(steps))]
        y = np.stack([y_d for y_d, _ in results], axis=1)
        final = [np.stack(per_direction) for per_direction in zip(*(states_d for _, states_d in results), strict=True)]
        if self.batch_first:
            return y.transpose(2, 0, 1, 3), [state.swapaxes(0, 1) for state in final]
        return y, final

    def _state(self, state: ArrayLike | None) -> Float64:
        """The state [D, B, H] of a node input, zeros where there is none."""
        if state is None:
            return np.zeros((self.directions, self.x.shape[1], self.hidden_size))
        array = np.asarray(state, np.float64)
        return array.swapaxes(0, 1) if self.batch_first else array

    def _run_direction(self, step: _Step, backward: bool, states: list[Float64]) -> tuple[Float64, list[Float64]]:
        """Y [T, B, H] and final states [B, H]. Outside a row's length its state stands still and its Y is 0."""
        time_steps, batch_size, _ = self.x.shape
        y = np.zeros((time_steps, batch_size, self.hidden_size))
        for t in range(time_steps)[:: -1 if backward else 1]:
            valid = (t < self.lengths)[:, None]
            new = step(np.where(valid, self.x[t], 0), *states)
            states = [np.where(valid, after, before) for after, before in zip(new, states, strict=True)]
            y[t] = np.where(valid, states[0], 0)
        return y, states
