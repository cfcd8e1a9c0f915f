"""Which sizes a module takes, found by trying: a convolution needs a shortest series, a pyramid an even one.

1. The smallest size at which forward runs, then the smallest step to the next ones. Larger sizes of those steps are
   taken for granted here; the parity grid tries some of them.
2. What the inputs state is not searched for, but must work.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from rnnexport.capture.failures import place_of_failure
from rnnexport.capture.inputs import InputSpec, SizeRange, stated_sizes, symbolic_dimensions
from rnnexport.capture.tracing import call_module
from rnnexport.errors import ExportError, RnnexportError

Sizes = dict[str, int]
_SMALL = range(1, 9)
"""Sizes at which a first one that works is looked for, the same for all dimensions."""
_LARGE = tuple(factor << exponent for exponent in range(1, 15) for factor in (5, 6, 7, 8))
"""Sizes that only one dimension has then: up to 131072, multiples of many numbers among them."""
_STEPS = 64
"""The largest step that is looked for."""


def find_ranges(
    module: nn.Module, inputs: Sequence[InputSpec], known: Mapping[str, int] = MappingProxyType({})
) -> dict[str, SizeRange]:
    """Find the sizes of every symbolic dimension that `module` takes; it takes the known ones, if there are any.

    Raises:
        InputError: The inputs contradict each other, or do not fit the module's forward.
        ExportError: The module fails at every size that was tried, or at the stated ones.
    """
    stated = stated_sizes(inputs)
    dimensions = symbolic_dimensions(inputs)
    trials = _Trials(module, inputs)
    start = _first_that_works(trials, {d: stated.get(d, SizeRange()) for d in dimensions}, stated, known)
    ranges: dict[str, SizeRange] = {}
    for dimension in dimensions:
        ranges[dimension] = stated.get(dimension) or _range_of(dimension, start, trials.work)
    smallest = {dimension: found.minimum for dimension, found in ranges.items()}
    if not trials.work(smallest):  # the dimensions depend on each other: keep to the sizes that work together
        return {d: stated.get(d) or SizeRange(start[d], ranges[d].step) for d in dimensions}
    return ranges


class _Trials:
    """Runs the module on made-up inputs."""

    def __init__(self, module: nn.Module, inputs: Sequence[InputSpec]) -> None:
        self.module, self.inputs = module, inputs
        self.failure: Exception | None = None
        self.known: dict[tuple[int, ...], bool] = {}

    def work(self, sizes: Sizes) -> bool:
        """Whether forward runs at these sizes."""
        key = tuple(sizes.values())
        if key not in self.known:
            self.known[key] = self._run(sizes)
        return self.known[key]

    def _run(self, sizes: Sizes) -> bool:
        for length in dict.fromkeys((None, *sorted(sizes.values(), reverse=True))):
            try:
                call_module(self.module, self.inputs, [made_up(spec, sizes, length) for spec in self.inputs])
            except RnnexportError:  # what forward takes and returns is the same at all sizes
                raise
            except Exception as exc:  # the user's code can raise anything
                self.failure = exc
            else:
                return True
        return False


def made_up(spec: InputSpec, sizes: Sizes, length: int | None = None) -> Tensor:
    """A tensor that most modules take: normal floats, and for integers 1, which is a length, a token and a flag.

    A list of integers holds `length` where one is given: rows without padding have it.
    """
    shape = [sizes[d] if isinstance(d, str) else d for d in spec.shape]
    dtype = getattr(torch, spec.dtype)
    if spec.values is not None:
        return torch.full(shape, spec.values[1], dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.full(shape, length if length is not None and len(shape) == 1 else 1, dtype=dtype)


def _first_that_works(
    trials: _Trials, ranges: dict[str, SizeRange], stated: dict[str, SizeRange], known: Mapping[str, int]
) -> Sizes:
    """The first size, one for all dimensions, that the module takes.

    Raises:
        ExportError: There is none; the message says how the module itself fails.
    """
    for sizes in _sizes_to_try(ranges, known):
        if trials.work(sizes):
            return sizes
        if stated.keys() == ranges.keys():
            break
    failure = trials.failure
    assert failure is not None
    shown = ", ".join(f"{dimension}={size}" for dimension, size in sizes.items())
    reason = (str(failure).strip().splitlines() or [""])[0]
    raise ExportError(
        f"{place_of_failure(failure)}forward fails at every size that was tried, at last with {shown}: "
        f"{type(failure).__name__}: {reason}; state what it takes, like 'x:float32[batch,time>=400]' or "
        "'tokens:int64[batch,time] in 100..120'"
    ) from failure


def _sizes_to_try(ranges: dict[str, SizeRange], known: Mapping[str, int]) -> Iterator[Sizes]:
    for size in _SMALL:
        yield {dimension: found.at_least(size) for dimension, found in ranges.items()}
    if known:
        yield {dimension: known[dimension] for dimension in ranges}
    for size in _LARGE:
        for large in ranges:
            yield {d: found.at_least(size if d == large else _SMALL[1]) for d, found in ranges.items()}


def _range_of(dimension: str, start: Sizes, work: Callable[[Sizes], bool]) -> SizeRange:
    def works(size: int) -> bool:
        return work({**start, dimension: size})

    first = start[dimension]
    step = next((step for step in range(1, _STEPS + 1) if works(first + step)), None)
    if step is None:
        raise ExportError(
            f"forward works at {dimension}={first}, but at none of the next {_STEPS} sizes; give {dimension!r} that "
            f"fixed size, or state its steps, like 'x:float32[batch,{dimension}%160==0]'"
        )
    return SizeRange(_smallest(first, step, works), step)


def _smallest(first: int, step: int, works: Callable[[int], bool]) -> int:
    """The smallest size that works, going down from `first` in steps, by halving; small ones are tried one by one."""
    down = list(range(first, 0, -step))[::-1]
    for size in [size for size in down if size < _SMALL[-1]]:
        if works(size):
            return size
    candidates = [size for size in down if size >= _SMALL[-1] or size == first]
    return candidates[bisect_left(candidates, True, key=works)]
