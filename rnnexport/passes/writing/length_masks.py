"""What the lengths of a batch say about each step, as nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnnexport.onnx_files.writer import Attributes, GraphWriter

# For each direction, which step holds its last state: the last valid one (1) or step 0 (0).
_LAST_STATE = {"forward": [1], "reverse": [0], "bidirectional": [1, 0]}


class LengthMasks:
    """Masks over one time axis for one value of lengths. Each is written where it is first asked for, and once."""

    def __init__(self, writer: GraphWriter, prefix: str, x: ir.Value, lengths: ir.Value) -> None:
        """Take the steps from `x` [T, B, …] and the lengths [B]; new values are called `prefix` and what they are."""
        self._writer, self._prefix, self._x, self._lengths = writer, prefix, x, lengths
        self._written: dict[str, ir.Value] = {}

    def lengths(self) -> ir.Value:
        """[B], int64, as they were given."""
        return self._op("Cast", [self._lengths], "int64", to=ir.DataType.INT64)

    def valid(self) -> ir.Value:
        """[T, B, 1]: whether a step counts."""
        return self._op("Less", [self._steps(), self._by_row()], "valid")

    def valid_output(self) -> ir.Value:
        """[T, 1, B, 1]: likewise, in the layout of Y."""
        steps = self._op(
            "Reshape", [self._range(), self._constant([-1, 1, 1, 1], "output_steps_shape")], "output_steps"
        )
        return self._op("Less", [steps, self._by_row()], "valid_output")

    def padding(self, dtype: ir.DataType) -> ir.Value:
        """[T, B, 1]: 1 on padding, else 0."""
        padded = self._op("Not", [self.valid()], "padded")
        return self._op("Cast", [padded], f"padding_{dtype.name.lower()}", to=dtype)

    def is_empty(self) -> ir.Value:
        """[1, B, 1]: whether a row has no valid step."""
        return self._op("Less", [self._by_row(), self._constant(1, "one")], "is_empty")

    def last_state_index(self, direction: str) -> ir.Value:
        """[D, B, 3]: step, direction and row of each half's last state in Y. For an empty row it is any step."""
        halves = _LAST_STATE[direction]
        step = self._constant([[[is_last, 0, 0]] for is_last in halves], f"{direction}_step_axis")
        half = self._constant([[[0, number, 0]] for number in range(len(halves))], f"{direction}_halves")
        steps = self._op("Mul", [self._last(), step], f"{direction}_steps")
        rows = self._op("Mul", [self._rows(), self._constant([0, 0, 1], "row_axis")], "row_index")
        steps_and_rows = self._op("Add", [steps, rows], f"{direction}_steps_and_rows")
        return self._op("Add", [steps_and_rows, half], f"{direction}_last_state")

    def _range(self) -> ir.Value:
        return self._op("Range", [self._constant(0, "zero"), self._time(), self._constant(1, "one")], "range")

    def _steps(self) -> ir.Value:
        """[T, 1, 1]."""
        return self._op("Reshape", [self._range(), self._constant([-1, 1, 1], "steps_shape")], "steps")

    def _time(self) -> ir.Value:
        """T, a scalar."""
        shape = self._op("Shape", [self._x], "shape")
        return self._op("Gather", [shape, self._constant(0, "zero")], "time", axis=0)

    def _rows(self) -> ir.Value:
        """0 … B - 1 as [1, B, 1]."""
        batch = self._op("Shape", [self._lengths], "batch_shape")
        count = self._op("Gather", [batch, self._constant(0, "zero")], "batch", axis=0)
        rows = self._op("Range", [self._constant(0, "zero"), count, self._constant(1, "one")], "row_range")
        return self._op("Reshape", [rows, self._constant([1, -1, 1], "row_shape")], "rows")

    def _by_row(self) -> ir.Value:
        """The lengths [1, B, 1], at most T: OpenVINO's GatherND reads foreign memory where an index is too large."""
        given = self._op("Reshape", [self.lengths(), self._constant([1, -1, 1], "row_shape")], "given")
        is_too_long = self._op("Less", [self._time(), given], "is_too_long")
        return self._op("Where", [is_too_long, self._time(), given], "by_row")

    def _last(self) -> ir.Value:
        """The last valid step of each row [1, B, 1], or 0 where there is none."""
        before_end = self._op("Sub", [self._by_row(), self._constant(1, "one")], "before_end")
        return self._op("Where", [self.is_empty(), self._constant(0, "zero"), before_end], "last")

    def _op(self, op_type: str, inputs: Sequence[ir.Value], name: str, **attributes: Attributes) -> ir.Value:
        if name not in self._written:
            self._written[name] = self._writer.op(op_type, inputs, f"{self._prefix}.{name}", **attributes)
        return self._written[name]

    def _constant(self, values: object, name: str) -> ir.Value:
        return self._writer.constant(np.array(values, np.int64), f"{self._prefix}.{name}")
