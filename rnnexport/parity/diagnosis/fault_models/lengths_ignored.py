"""Padding is read as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines.contract import Feeds
from rnnexport.onnx_files.operators import SEQUENCE_LENS
from rnnexport.parity.diagnosis.fault_model import (
    Evidence,
    FaultModel,
    NodeInputs,
    PredictedOutputs,
    Variant,
    change_node,
    evaluated,
    recurrent_outputs,
)

if TYPE_CHECKING:
    import onnx


class LengthsIgnored(FaultModel):
    """The recurrent layers, or the whole model, run over every step of the batch.

    Example:
        full series agree; shorter rows of a batch end in the state after their padding.
    """

    name: ClassVar[str] = "lengths ignored"
    remedy: ClassVar[str] = (
        "export with exact lengths, which needs no sequence_lens, or give this runtime static shapes"
    )

    def variants(self) -> Iterator[Variant]:
        """The operator's own input, and the graph's."""
        yield Variant("sequence_lens of the recurrent layers is ignored", change_node(_without_lengths))
        yield Variant("the lengths are ignored everywhere", feeds=_full_lengths)

    def predictions(self, evidence: Evidence, node: str | None = None) -> Iterator[PredictedOutputs]:
        """As always; where the right graph is not known, what the file would give if its layers read its lengths."""
        if evidence.right is not None:
            yield from super().predictions(evidence, node)
            return
        for lengths in (info.name for info in evidence.inputs if info.role == "lengths"):
            mended = _reading(evidence.file, lengths, node)
            for each in evaluated(mended, evidence, f"no recurrent layer of the file reads {lengths!r}"):
                yield PredictedOutputs(each.says, each.outputs, undone=True)


def _reading(file: onnx.ModelProto, lengths: str, only: str | None) -> onnx.ModelProto:
    """A copy whose recurrent nodes, or one of them, have `lengths` as sequence_lens."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(file)
    names = set(recurrent_outputs(copy))
    for node in copy.graph.node:
        first = next(filter(None, node.output), None)
        if first in names and only in (None, first):
            node.input.extend([""] * (SEQUENCE_LENS + 1 - len(node.input)))
            node.input[SEQUENCE_LENS] = lengths
    return copy


def _without_lengths(_: str, inputs: NodeInputs, __: dict[str, Any]) -> None:
    inputs[SEQUENCE_LENS] = None


def _full_lengths(feeds: Feeds, inputs: Sequence[TensorInfo]) -> Feeds:
    """The time axis's size for every row; where the graph does not name the axis, the longest row's length."""
    sizes = {d: n for info in inputs for d, n in zip(info.shape, feeds[info.name].shape, strict=True)}
    full = {
        info.name: np.full_like(feeds[info.name], sizes.get(info.counted_dimension or "", feeds[info.name].max()))
        for info in inputs
        if info.role == "lengths"
    }
    return {**feeds, **full}
