"""Which axis of a tensor is the batch and which is time: found when a model is exported, and kept in the manifest."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rnnexport.bundle.manifest import TensorInfo

BATCH_NAMES = {"batch", "batch_size", "b", "n"}
Infos = tuple[TensorInfo, ...]


def with_axes(infos: Sequence[TensorInfo], batch: Collection[str], time: Collection[str]) -> Infos:
    """Say of each tensor which axis has one of the dimensions `batch`, and which one of `time`."""

    def axis(info: TensorInfo, wanted: Collection[str]) -> int | None:
        return next((i for i, d in enumerate(info.shape) if isinstance(d, str) and d in wanted), None)

    return tuple(
        info.model_copy(update={"batch_axis": axis(info, batch), "time_axis": axis(info, time)}) for info in infos
    )


def find_input_axes(inputs: Sequence[TensorInfo], batch: Collection[str] = (), time: Collection[str] = ()) -> Infos:
    """Find the axes of a graph's inputs; `batch` and `time` are what its recurrent layers run over, where known.

    The batch is the dimension of a `lengths` input, or one with a usual name; failing that, the layers'. Time is what
    lengths count, what is called so, and what the layers run over.
    """
    lengths = [info for info in inputs if info.role == "lengths"]
    dimensions = {d for info in inputs for d in info.shape if isinstance(d, str)}
    usual = {d for d in dimensions if d.lower() in BATCH_NAMES}
    rows = (usual | {d for info in lengths for d in info.shape[:1] if isinstance(d, str)}) or set(batch)
    steps = ({"time", *time} | {info.counted_dimension for info in lengths if info.counted_dimension}) - rows
    if lengths and not steps & dimensions:
        steps = dimensions - rows
    named = steps & dimensions
    counted = "time" if "time" in named else next(iter(named)) if len(named) == 1 else None
    known = [
        info.model_copy(update={"counted_dimension": info.counted_dimension or counted}) if info in lengths else info
        for info in inputs
    ]
    return with_axes(known, rows, steps)


def find_output_axes(outputs: Sequence[TensorInfo], inputs: Sequence[TensorInfo]) -> Infos:
    """Find the axes of outputs: those that have the dimensions of the inputs' axes."""
    return with_axes(outputs, {i.batch_dimension for i in inputs}, {i.time_dimension for i in inputs})
