"""What a fault model is: one way in which a recurrent model goes wrong without a word.

A fault model is a file in `fault_models/`; nothing else need know of it. It predicts what its fault would make of the
calls that went wrong, and is held against what was observed. Where only a wrong file is known and no right graph, it
predicts what the file would give with the fault undone, and is held against what should have come.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError
from rnnexport.onnx_files.operators import NUMBER_OF_INPUTS
from rnnexport.parity.compare import Reference
from rnnexport.parity.onnx_float64 import Alteration, Float64Model, everything_in
from rnnexport.parity.recurrent_operators import Arithmetic, Rounding, evaluate

if TYPE_CHECKING:
    import onnx

Outputs = dict[str, NDArray[np.float64]]
Results = tuple[NDArray[np.float64], ...]
NodeInputs = list[Any]
"""Inputs of a recurrent node in the operator's order; `None` or too few where they are missing."""
FeedsChange = Callable[[Feeds, Sequence[TensorInfo]], Feeds]


@dataclass(frozen=True, slots=True)
class Call:
    """One call whose answer is to be explained."""

    position: int
    """Among the calls that the session answered."""
    feeds: Feeds
    observed: Feeds
    """What the runtime gave, in the shapes of `expected`."""
    expected: dict[str, Reference]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a wrong runtime or file."""

    inputs: Sequence[TensorInfo]
    calls: Sequence[Call]
    """Some wrong ones, and a right one where there is any."""
    all_expected: Sequence[dict[str, Reference]]
    """What each call on the session should have given, in order."""
    right: onnx.ModelProto | None
    """A graph that computes the source model; `None` where only the file is there, and wrong."""
    file: onnx.ModelProto
    """The bundle's graph."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of a fault model, as a change of the right graph or of its inputs."""

    says: str
    """What happened, for a sentence."""
    alteration: Alteration = field(default_factory=Alteration)
    feeds: FeedsChange = lambda feeds, _: feeds
    undo: Alteration | None = None
    """What makes a file with this fault compute the right thing; `None` where it has lost what that takes."""


@dataclass(frozen=True, slots=True)
class PredictedOutputs:
    """What a fault model would make of the calls."""

    says: str
    outputs: Sequence[Outputs]
    """Of each call."""
    undone: bool = False
    """Whether this is what the file would give with the fault undone."""


class FaultModel(abc.ABC):
    """One way of going wrong."""

    name: ClassVar[str]
    """As the field calls it."""
    remedy: ClassVar[str]
    """What to do about it, in one sentence."""
    of_rounding: ClassVar[bool] = False
    """Whether it is about where numbers are rounded, which no two libraries do at the same places."""

    def variants(self) -> Iterator[Variant]:
        """Yield the forms that it takes."""
        yield from ()

    def predictions(self, evidence: Evidence, node: str | None = None) -> Iterator[PredictedOutputs]:
        """Yield what each form would give; one that cannot be computed on these calls is left out.

        `node` is the first output of the only recurrent node that the fault is in; by default it is in all.
        """
        for variant in self.variants():
            says = variant.says if node is None else f"{variant.says}, in the layer that gives {node!r} alone"
            if evidence.right is not None:
                yield from evaluated(evidence.right, evidence, says, variant.alteration, variant.feeds, node)
            elif variant.undo is not None:
                for each in evaluated(evidence.file, evidence, says, variant.undo, node=node):
                    yield PredictedOutputs(each.says, each.outputs, undone=True)


def evaluated(
    model: onnx.ModelProto,
    evidence: Evidence,
    says: str,
    alteration: Alteration = Alteration(),  # noqa: B008 - it is frozen
    change_feeds: FeedsChange = lambda feeds, _: feeds,
    node: str | None = None,
) -> Iterator[PredictedOutputs]:
    """Yield what an altered model gives for the calls; nothing where it cannot run them, such as for its shapes."""
    try:
        evaluator = Float64Model(model, alteration=alteration, altered_node=node)
        outputs = [evaluator.run(change_feeds(call.feeds, evidence.inputs)) for call in evidence.calls]
    except InputError:
        return
    yield PredictedOutputs(says, outputs)


def change_node(change: Callable[[str, NodeInputs, dict[str, Any]], None]) -> Alteration:
    """Have the recurrent nodes read other inputs or attributes: `change(op_type, inputs, attributes)` edits them.

    The list of inputs has the operator's full length, with `None` for those that the node has not.
    """

    def recurrent(op_type: str, inputs: NodeInputs, **attributes: Any) -> Results:
        padded = [*inputs, *[None] * (NUMBER_OF_INPUTS[op_type] - len(inputs))]
        change(op_type, padded, attributes)
        return evaluate(op_type, padded, **attributes)

    return Alteration(recurrent)


def narrow_arithmetic(precision: str, rounding: Rounding) -> Iterator[Variant]:
    """Yield the forms in which libraries compute in a narrow precision: sums are wide in all of them."""
    products = Alteration(partial(evaluate, arithmetic=Arithmetic(operand=rounding)), operand=rounding)
    yield Variant(f"matrix products are taken in {precision}", products)
    yield Variant(f"everything is computed in {precision}", everything_in(rounding))


def recurrent_outputs(model: onnx.ModelProto) -> list[str]:
    """The first output of every recurrent node outside sub-graphs, in order."""
    return [next(filter(None, node.output)) for node in model.graph.node if node.op_type in NUMBER_OF_INPUTS]
