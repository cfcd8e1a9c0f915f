"""Cells that are not an operator."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.passes.fuse_cells import FuseCells


class _Decomposed(Rule):
    """What both rules share."""

    def repairs(self, checked: LintedModel, where: str) -> bool:
        """Whether this is an LSTM or GRU, and not only like one."""
        return any(cell.fusible for cell in checked.decomposed_cells if cell.node == where)

    def repair(self) -> ir.passes.InPlacePass:
        """Put the operator in its place."""
        return FuseCells()


class Unrolled(_Decomposed):
    """One cell, written once for each time step.

    Exporters without the recurrent operators write a loop over time so, and so does tracing a Python loop over
    `nn.LSTMCell`: the graph has as many copies of the cell as the example series had steps.

    Example:
        h1 = Tanh(Add(MatMul(x0, W), MatMul(h0, R)))
        h2 = Tanh(Add(MatMul(x1, W), MatMul(h1, R)))
        h3 = Tanh(Add(MatMul(x2, W), MatMul(h2, R)))
    """

    name = "unrolled"
    severity = "warning"
    title = "a cell is unrolled over time"
    consequences = {"every runtime": "the number of time steps is fixed, and the fused kernel is not used"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for cells with the same weights."""
        for cell in checked.decomposed_cells:
            if cell.steps > 2:
                hint = "" if cell.fusible else "; export it as an operator"
                yield cell.node, f"one {cell.cell} stands there {cell.steps} times{hint}"


class Decomposed(_Decomposed):
    """A step of a cell as MatMul, Sigmoid and Tanh.

    Seen in graphs of one step, and in the body of a `Scan` or `Loop`. It computes the same function as the operator.

    Example:
        z, r = Split(Sigmoid(Gemm(Concat(x, h), W, B)))
        n = Tanh(Gemm(Concat(x, Mul(r, h)), V, C))
        h_n = Add(Mul(z, h), Mul(Sub(1, z), n))
    """

    name = "decomposed"
    severity = "note"
    title = "a cell is written as MatMul, Sigmoid and Tanh"
    consequences = {"every runtime": "the same function without the fused kernel; for single steps that matters little"}

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Look for cells that stand there once or twice."""
        for cell in checked.decomposed_cells:
            if cell.steps <= 2:
                yield cell.node, f"{'an' if cell.cell == 'LSTM' else 'a'} {cell.cell} cell"
