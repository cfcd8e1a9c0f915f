"""The sizes of a call that a bundle's graph fixes, read off its first recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from rnnexport.bundle.bundle import Bundle
from rnnexport.errors import InputError
from rnnexport.parity.grid import CaseShape, symbol_sizes

BATCH_SIZE, TIME_STEPS = 1, 25
"""Of a call where neither the user nor the model says."""


def shapes_for(bundle: Bundle, batch_sizes: Sequence[int], time_steps: Sequence[int]) -> list[CaseShape]:
    """Return the calls of these sizes; where none are given, of what the graph fixes, or of the defaults above.

    Raises:
        InputError: The graph fixes another size.
    """
    batch, steps = BATCH_SIZE, TIME_STEPS
    if _fixes_a_size(bundle):
        fixed_batch, fixed_steps = _fixed(bundle)
        _check(bundle, "batch_size", batch_sizes, fixed_batch)
        _check(bundle, "time_steps", time_steps, fixed_steps)
        batch, steps = fixed_batch or batch, fixed_steps or steps
    sizes = product(batch_sizes or (batch,), time_steps or (steps,))
    return [CaseShape(*size, from_series=True, mixed_lengths=False) for size in sizes]


def _check(bundle: Bundle, name: str, sizes: Sequence[int], fixed: int | None) -> None:
    """Refuse a size that the graph does not take: the call would be another than its row says."""
    if fixed is not None and (wrong := [size for size in sizes if size != fixed]):
        raise InputError(
            f"bundle {str(bundle.path)!r} fixes `{name}={fixed}`, so it cannot be {wrong[0]}; leave it out"
        )


def _fixes_a_size(bundle: Bundle) -> bool:
    """Whether a larger batch, or more steps, would be the same call."""
    inputs = bundle.manifest.inputs
    return fixes_the_batch(bundle) or symbol_sizes(inputs, CaseShape(2, 8)) == symbol_sizes(inputs, CaseShape(2, 7))


def fixes_the_batch(bundle: Bundle) -> bool:
    """Whether a larger batch would be the same call."""
    inputs = bundle.manifest.inputs
    return symbol_sizes(inputs, CaseShape(3, 7)) == symbol_sizes(inputs, CaseShape(2, 7))


def _fixed(bundle: Bundle) -> tuple[int | None, int | None]:
    """Batch size and time steps of the first recurrent layer, where they are numbers."""
    from rnnexport.inspecting.layers import call_dimensions, recurrent_nodes
    from rnnexport.onnx_files.reading import read_model
    from rnnexport.passes.fuse_cells import fuse_cells
    from rnnexport.passes.output_shapes import infer_shapes

    model = read_model(bundle.model_path)
    infer_shapes(model)
    if not recurrent_nodes(model):
        fuse_cells(model)
        infer_shapes(model)
    dimensions = next(map(call_dimensions, recurrent_nodes(model)), None) or (None, None)
    batch, steps = (size if isinstance(size, int) else None for size in dimensions)
    return batch, steps
