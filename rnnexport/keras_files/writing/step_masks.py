"""Masked steps out of the way of a fused operator, and back where they belong.

No operator skips steps in the middle of a series. So the steps that count are moved to the front of their row, in their
order; the operator runs over so many of them; and each step gets the output of the last one that counts, up to there.
Where only padding at the end is masked, no step moves.
"""

from __future__ import annotations

import onnx_ir as ir

from rnnexport.keras_files.writing.nodes import Nodes


class StepMask:
    """One mask [batch, time], or [time, batch], written out once for all layers that read it."""

    def __init__(self, nodes: Nodes, mask: ir.Value, *, time_major: bool) -> None:
        self._nodes = nodes
        self.counts = mask if time_major else nodes.transpose(mask, (1, 0))
        """[T, B]"""
        self._numbers = nodes.cast(self.counts, ir.DataType.INT64)
        self._up_to = nodes.op("CumSum", self._numbers, nodes.whole(0, "time_axis"), as_="up_to")
        """[T, B]: how many steps count, up to and with this one."""
        self._count = nodes.reduce("Sum", self._numbers, [0])
        """[B]"""
        self.lengths = nodes.cast(self._count, ir.DataType.INT32)
        """[B]: how many steps of a row count."""
        steps = nodes.size(self.counts, 0)
        self._batch = nodes.size(self.counts, 1)
        one = nodes.whole(1, "one")
        self._steps = nodes.squeeze(steps, 0)
        self._step = nodes.unsqueeze(nodes.op("Range", nodes.whole(0, "zero"), self._steps, one), 1)
        """[T, 1]"""
        self._row = nodes.op("Range", nodes.whole(0, "zero"), nodes.squeeze(self._batch, 0), one, as_="row")
        self._front = self._to_front()

    def _to_front(self) -> ir.Value:
        """[T, B]: which step of the row comes first, second …; those that do not count come last."""
        nodes, one = self._nodes, self._nodes.whole(1, "one")
        behind = nodes.op("Sub", nodes.op("Add", self._step, self._count), self._up_to)
        place = nodes.op("Where", self.counts, nodes.op("Sub", self._up_to, one), behind, as_="place")
        steps = nodes.op("Expand", self._step, nodes.op("Shape", self.counts))
        zeros = nodes.op("Sub", steps, steps, as_="zeros")
        return self._flat(nodes.op("ScatterElements", zeros, place, steps, axis=0))

    def _flat(self, step: ir.Value) -> ir.Value:
        """Steps [T, B] as places in what has time and batch in one axis."""
        return self._nodes.op("Add", self._nodes.op("Mul", step, self._batch), self._row, as_="flat")

    def to_front(self, x: ir.Value, features: int) -> ir.Value:
        """X [T, B, features] with the steps that count first."""
        return self._gathered(self._nodes, x, features, self._front)

    def back(self, nodes: Nodes, y: ir.Value, features: int, *, backwards: bool, repeat: bool) -> ir.Value:
        """Outputs [T, B, features] of the steps at the front, where they belong.

        Args:
            nodes: Under whose name to write.
            y: The outputs.
            features: Their number.
            backwards: Whether the layer runs from the end.
            repeat: Whether a masked step repeats what came before in the order of running, or is 0.
        """
        zero, one = nodes.whole(0, "zero"), nodes.whole(1, "one")
        before = nodes.op("Sub", self._up_to, one)
        counts = self.counts
        if backwards and repeat:  # from the end, what came before a masked step is the next one that counts
            after = nodes.op("Min", self._up_to, nodes.op("Sub", self._steps, one))
            place = nodes.op("Where", self.counts, before, after)
            left = nodes.op("Add", nodes.op("Sub", self._count, self._up_to), self._numbers)
            counts = nodes.op("Greater", left, zero)
        else:
            place = nodes.op("Max", before, zero)
            if repeat:
                counts = nodes.op("Greater", self._up_to, zero)
        gathered = self._gathered(nodes, y, features, self._flat(place))
        return nodes.op("Where", nodes.unsqueeze(counts, 2), gathered, nodes.floats(0.0, "no_output"))

    def _gathered(self, nodes: Nodes, x: ir.Value, features: int, places: ir.Value) -> ir.Value:
        return nodes.op("Gather", nodes.reshape(x, (-1, features)), places, axis=0)

    def any_counts(self) -> ir.Value:
        """[B, 1]: whether any step of a row counts."""
        return self._nodes.unsqueeze(self._nodes.op("Greater", self._count, self._nodes.whole(0, "zero")), 1)

    def counts_at(self, step: int) -> ir.Value:
        """[B, 1]: whether one step counts."""
        return self._nodes.unsqueeze(self._nodes.pick(self.counts, step, 0), 1)
