"""Runs those operations of a loop's body step by step that depend on what they computed in the step before.

1. They are the cycles of the body: an operation that, through others, reads its own previous result. A cell whose state
   is only its own output is one, too, but a fused layer (`vectorized.py`).
2. A cycle becomes one ONNX Scan. What its operations read of the rest of the body is computed for all steps before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import SymInt, Tensor
from torch._higher_order_ops.scan import scan
from torch.utils._pytree import tree_flatten, tree_unflatten

from rnnexport.capture.outline import Operation, Previous, Same


def cycles(body: Sequence[Operation]) -> list[tuple[int, ...]]:
    """Return the groups of operations that depend on each other from step to step, each in the order of the body."""
    reads = {offset: set(_read(operation)) for offset, operation in enumerate(body)}
    reached = {offset: _closure(offset, reads) for offset in reads}
    groups = {
        tuple(sorted(other for other in reached[offset] if offset in reached[other]))
        for offset in reads
        if offset in reached[offset]
    }
    return sorted(groups)


def _read(operation: Operation) -> Iterator[int]:
    return (leaf.offset for leaf in operation.leaves() if isinstance(leaf, Same | Previous))


def _closure(start: int, reads: dict[int, set[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(reads[start])
    while waiting:
        offset = waiting.pop()
        if offset not in found:
            found.add(offset)
            waiting += reads[offset]
    return found


class Steps:
    """One cycle, ready to run.

    Args:
        body: The loop's body.
        members: The offsets of the cycle.
        value_of: What an operand from outside of the cycle is: all its steps as `(True, tensor)`, or one value for all
            of them as `(False, value)`.
        initial: The value of a `Previous` before the first step.
    """

    def __init__(
        self,
        body: Sequence[Operation],
        members: Sequence[int],
        value_of: Callable[[Any], tuple[bool, Any]],
        initial: Callable[[Previous], Tensor],
    ) -> None:
        self.body, self.members = body, members
        self.carried: list[Previous] = []
        self.first: list[Tensor] = []
        self.inputs: list[Tensor] = []
        self.sizes: list[tuple[Any, tuple[int, int] | None]] = []
        """Symbolic sizes that a step reads, and which axis of which tensor that a step is given has each."""
        self.plans: dict[int, tuple[list[Callable[..., Any]], Any]] = {}
        for offset in members:
            operands = (body[offset].args, dict(body[offset].kwargs))
            leaves, structure = tree_flatten(operands)
            self.plans[offset] = [self._reader(leaf, value_of, initial) for leaf in leaves], structure

    def _reader(
        self, leaf: Any, value_of: Callable[[Any], tuple[bool, Any]], initial: Callable[[Previous], Tensor]
    ) -> Callable[..., Any]:
        """How an operand is found within a step, given the step's results, the carried values and the inputs."""
        if isinstance(leaf, Same) and leaf.offset in self.members:
            return lambda results, carried, inputs: results[leaf.offset]
        if isinstance(leaf, Previous) and leaf.offset in self.members:
            if leaf not in self.carried:
                self.carried.append(leaf)
                self.first.append(_contiguous(initial(leaf)))
            place = self.carried.index(leaf)
            return lambda results, carried, inputs: carried[place]
        is_series, value = value_of(leaf)
        if not is_series:
            if isinstance(value, Tensor) and value._is_view():  # scan allows no two views of one tensor
                value = _contiguous(value)
            if isinstance(value, SymInt):  # scan takes none from outside into a list of sizes
                place = len(self.sizes)
                self.sizes.append((value, None))
                return lambda results, carried, inputs: self._size(place, [*carried, *inputs])
            return lambda results, carried, inputs: value
        number = next((i for i, known in enumerate(self.inputs) if known is value), len(self.inputs))
        if number == len(self.inputs):
            self.inputs.append(value)
        return lambda results, carried, inputs: inputs[number]

    def _size(self, place: int, given: Sequence[Tensor]) -> Any:
        size, found = self.sizes[place]
        return size if found is None else given[found[0]].shape[found[1]]

    def _find_sizes(self) -> None:
        """Find each symbolic size among the axes of what a step is given."""
        shapes = [*(tensor.shape for tensor in self.first), *(tensor.shape[1:] for tensor in self.inputs)]
        axes = [(number, axis) for number, shape in enumerate(shapes) for axis in range(len(shape))]
        for place, (size, _) in enumerate(self.sizes):
            same = (
                at for at in axes if isinstance(shapes[at[0]][at[1]], SymInt) and is_same(shapes[at[0]][at[1]], size)
            )
            self.sizes[place] = (size, next(same, None))

    def step(self, carried: Sequence[Tensor], inputs: Sequence[Tensor]) -> dict[int, Any]:
        """Return the results of the cycle's operations in one step."""
        results: dict[int, Any] = {}
        for offset in self.members:
            readers, structure = self.plans[offset]
            args, kwargs = tree_unflatten([read(results, carried, inputs) for read in readers], structure)
            args = [list(value) if isinstance(value, tuple) else value for value in args]
            results[offset] = self.body[offset].target(*args, **kwargs)
        return results

    def run(self, wanted: Sequence[int], count: Any, *, is_real: bool) -> dict[int, tuple[Tensor, Tensor | None]]:
        """Return, for each wanted operation, its results [steps, …] and its last one where that is carried."""
        finals, steps = (self._in_python if is_real else self._in_graph)(wanted, count)
        last = {previous.offset: final for previous, final in zip(self.carried, finals, strict=True)}
        return {offset: (rows, last.get(offset)) for offset, rows in zip(wanted, steps, strict=True)}

    def _in_graph(self, wanted: Sequence[int], count: Any) -> tuple[list[Tensor], list[Tensor]]:
        def step(carried: list[Tensor], inputs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            if not self.inputs:
                carried = [carried[0] + inputs[0], *carried[1:]]
            results = self.step(carried, inputs)
            return [_contiguous(results[p.offset]) for p in self.carried], [_contiguous(results[o]) for o in wanted]

        self._find_sizes()
        self._widen_first()
        # A body without an input has nothing that says how many steps there are; OpenVINO then makes one.
        inputs = self.inputs or [self.first[0].new_zeros(count)]
        finals, steps = scan(step, self.first, inputs)
        return list(finals), list(steps)

    def _widen_first(self) -> None:
        """Give each carried value the shape and type before the first step that it has after it."""
        results = self.step(self.first, [tensor[0] for tensor in self.inputs])
        after = [results[previous.offset] for previous in self.carried]
        for place, (first, new) in enumerate(zip(self.first, after, strict=True)):
            if first.dim() != new.dim() or not all(map(is_same, first.shape, new.shape)):
                first = _contiguous(first.expand(new.shape))
            self.first[place] = first.to(new.dtype)

    def _in_python(self, wanted: Sequence[int], count: int) -> tuple[list[Tensor], list[Tensor]]:
        carried, rows = self.first, []
        for number in range(count):
            results = self.step(carried, [tensor[number] for tensor in self.inputs])
            carried = [results[previous.offset] for previous in self.carried]
            rows.append([results[offset] for offset in wanted])
        return list(carried), [torch.stack(column) for column in zip(*rows, strict=True)]


def is_same(first: Any, second: Any) -> bool:
    """Whether two sizes, which may be symbolic, are always equal."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return bool(statically_known_true(first == second))


def _contiguous(tensor: Tensor) -> Tensor:
    """A copy: scan allows no result to be another one or an operand, and wants one layout in all steps."""
    return tensor.clone(memory_format=torch.contiguous_format)
