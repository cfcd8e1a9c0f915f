"""Padding is read as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from rnnexport.bundle import TensorInfo
from rnnexport.engines.contract import Feeds
from rnnexport.parity.hypothesis import SEQUENCE_LENS, Hypothesis, NodeInputs, Variant, change_node


class LengthsIgnored(Hypothesis):
    """The recurrent layers, or the whole model, run over every step of the batch."""

    name: ClassVar[str] = "lengths ignored"
    remedy: ClassVar[str] = (
        "export with --lengths exact, which needs no sequence_lens, or give this runtime static shapes"
    )

    def variants(self) -> Iterator[Variant]:
        """The operator's own input, and the graph's."""
        yield Variant("sequence_lens of the recurrent layers is ignored", change_node(_without_lengths))
        yield Variant("the lengths are ignored everywhere", feeds=_full_lengths)


def _without_lengths(_: str, inputs: NodeInputs, __: dict[str, Any]) -> None:
    inputs[SEQUENCE_LENS] = None


def _full_lengths(feeds: Feeds, inputs: Sequence[TensorInfo]) -> Feeds:
    sizes = {d: n for info in inputs for d, n in zip(info.shape, feeds[info.name].shape, strict=True)}
    full = {
        info.name: np.full_like(feeds[info.name], sizes[info.time_axis or "time"])
        for info in inputs
        if info.role == "lengths"
    }
    return {**feeds, **full}
