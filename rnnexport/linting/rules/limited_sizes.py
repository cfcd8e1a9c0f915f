"""Dimensions that are declared free, and that a Reshape or a Split fixes."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.rule import Rule
from rnnexport.onnx_files.nodes import constant_tensor, node_name, optional_input
from rnnexport.passes.output_shapes import dynamic_dimensions


class LimitedSizes(Rule):
    """A Reshape or a Split with constants in the place of dimensions that the inputs declare free.

    The exporter put the example's sizes into the graph, and declared the dimensions free all the same.

    Example:
        y = Reshape(x: float[batch, time, 8], [-1, 25, 8])    # the example had 25 steps
    """

    name = "limited-sizes"
    severity = "warning"
    title = "an input's dimension is declared free, and only some sizes of it fit"
    consequences = {
        "every runtime": "other sizes are refused, or mixed up without a word; torch.onnx.export writes the example's "
        "sizes so, rnnexport export of the module does not"
    }

    def check(self, checked: LintedModel) -> Iterator[tuple[str, str]]:
        """Compare the elements that each Reshape and Split is given with those that it makes.

        What the file says of the shapes inside it is left aside: it holds for the exporter's example only.
        """
        free = dynamic_dimensions(checked.model)
        inferred = checked.model.clone()
        for node in inferred.graph.all_nodes():
            for value in node.outputs:
                value.shape = None
        with contextlib.suppress(Exception):  # then nothing is known, and nothing is said
            ShapeInferencePass()(inferred)
        for node in inferred.graph.all_nodes():
            limit = {"Reshape": _limit, "Split": _limit_of_split}.get(node.op_type)
            if limit is not None and not node.domain and (what := limit(node, free)):
                yield node_name(node), what


def _limit(node: ir.Node, free: set[str | None]) -> str | None:
    """What sizes fit, where not all do; `None` where they do, or it is not known."""
    data, made = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None or made.shape is None:
        return None
    given, names = _numbers_and_names(data.shape)
    asked, new_names = _numbers_and_names(made.shape)
    lost, new = names - new_names, new_names - names
    if not lost or not free.issuperset(lost) or not free.isdisjoint(new) or not given or not asked:
        return None
    product = "·".join(map(str, lost.elements()))
    fits = None
    if not new:
        fits = f"{asked / given:g}"
    elif new.total() == 1 and given % asked:
        fits = f"a multiple of {asked // math.gcd(given, asked)}"
    shapes = f"{[str(size) for size in data.shape]} becomes {[str(size) for size in made.shape]}"
    return f"{shapes}, which fits only where {product} is {fits}" if fits else None


def _limit_of_split(node: ir.Node, free: set[str | None]) -> str | None:
    """What size fits; `None` where the parts are not constants, or what is split is no free dimension."""
    data, sizes = node.inputs[0], constant_tensor(optional_input(node, 1))
    parts = node.attributes.get_ints("split", ()) if sizes is None else sizes.numpy().ravel()
    if data is None or data.shape is None or not len(parts):
        return None
    size = data.shape[node.attributes.get_int("axis", 0)]
    if isinstance(size, int) or size.value not in free:
        return None
    return f"{size.value} is split into {len(parts)} parts, which fits only where it is {int(sum(parts))}"


def _numbers_and_names(shape: ir.Shape) -> tuple[int, Counter[str | None]]:
    """The product of the numbers, and the dimensions without one."""
    names = Counter(size.value for size in shape if not isinstance(size, int))
    return math.prod(size for size in shape if isinstance(size, int)), names
