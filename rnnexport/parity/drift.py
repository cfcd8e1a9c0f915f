"""Does the error grow along a long series?

A recurrent layer feeds its rounding back into itself. The layers' outputs are made visible and followed over one series
of many steps, against the same graph in float64; the source model needs no part in it, for `verify` has shown that the
graph is the model. The *drift horizon* is the number of steps for which no element passes its tolerance. The error
*stays bounded* where the median over the steps of the second half is no more than twice that of the first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.arguments.options import with_arguments
from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError, RuntimeUnavailableError
from rnnexport.parity.compare import allowed_differences, differences
from rnnexport.parity.diagnosis.localization import LayerOutput, with_layer_outputs
from rnnexport.parity.grid import CaseShape, draw_feeds, takes
from rnnexport.parity.onnx_float64 import Float64Model
from rnnexport.parity.options import DriftOptions
from rnnexport.parity.verify import tolerance_for
from rnnexport.results.result import Result
from rnnexport.runtime.definitions import RuntimeStatus, choose_runtimes, runtime_statuses
from rnnexport.runtime.worker import infer
from rnnexport.versions import available_memory, machine, tool_versions

_FEW = 4
_ARRAYS = 5
"""Of the size of the reference's outputs that are held at once."""
_WINDOWS_PER_DECADE = 10
_GROWTH = 2.0


class RuntimeDrift(BaseModel):
    """One runtime over the series."""

    definition: Definition
    tolerance: Tolerance
    errors: list[tuple[int, float]] = []
    """(last step of a window, largest error in it), over all layers; windows grow with time."""
    horizon: int | None = None
    """The first step, from 0, at which an element passes its tolerance; `None` where none does."""
    bounded: bool = True
    failure: str | None = None
    not_applicable: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it ran and its error stays bounded; how long it holds a tolerance is a property, not a fault."""
        return self.failure is None and self.bounded


class DriftReport(Result):
    """What `rnnexport drift` found out about one bundle."""

    schema_version: Literal[1] = 1
    bundle: str
    steps: int
    inputs: Literal["the bundle's own series", "drawn from a normal distribution"]
    seed: int
    runtimes: list[RuntimeDrift]
    not_usable: list[RuntimeStatus]
    versions: dict[str, str]
    machine: dict[str, str]

    def records(self) -> list[dict[str, Any]]:
        """A row for each runtime and stretch of steps: its last step, and the largest error in it."""
        return [
            {
                "runtime": runtime.definition.name,
                "precision": runtime.definition.precision,
                "up_to_step": step,
                "largest_error": error,
            }
            for runtime in self.runtimes
            for step, error in runtime.errors
        ]

    @property
    def exit_status(self) -> int:
        """0: every error stays bounded; 1: one grows, or a runtime failed; 3: one named is not usable here."""
        if not all(runtime.passed for runtime in self.runtimes):
            return 1
        return RuntimeUnavailableError.exit_status if self.not_usable else 0


def drift_with(path: str | Path, options: DriftOptions) -> DriftReport:
    """Follow the error of each runtime over one long series, and write `drift.json` into the bundle.

    Raises:
        BundleError: The bundle is missing or damaged, or has no tolerance for a precision.
        InputError: The graph cannot be evaluated in float64, or so many steps do not fit into memory.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    import onnx

    bundle, steps = load_bundle(Path(path)), options.steps
    definitions, not_usable = choose_runtimes(options.runtimes) if options.runtimes else (_usable(), [])
    model, layers = with_layer_outputs(onnx.load(bundle.model_path))
    reference = Float64Model(model)
    _check_memory(reference.run(_long_series(bundle, _FEW, options.seed)[0]), steps)
    feeds, own = _long_series(bundle, steps, options.seed)
    options.on_progress(f"{steps} steps in float64")
    expected = reference.run(feeds)
    with tempfile.TemporaryDirectory(prefix="rnnexport-") as folder:
        visible = Path(folder) / "model.onnx"
        onnx.save(model, visible, save_as_external_data=model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF)
        followed = []
        for definition in definitions:
            options.on_progress(definition.name)
            followed.append(_follow(bundle, definition, visible, feeds, layers, expected))
    report = DriftReport(
        bundle=str(path),
        steps=steps,
        inputs="the bundle's own series" if own else "drawn from a normal distribution",
        seed=options.seed,
        runtimes=followed,
        not_usable=not_usable,
        versions=tool_versions(),
        machine=machine(),
    )
    bundle.write_evidence("drift.json", report.model_dump(mode="json"))
    return report


drift = with_arguments(DriftOptions, drift_with, "drift")


def _check_memory(outputs: dict[str, NDArray[np.float64]], steps: int) -> None:
    """Refuse a series whose outputs, the runtime's and the differences do not fit; `outputs` are those of a few."""
    needed, free = _ARRAYS * steps * sum(array.nbytes for array in outputs.values()) // _FEW, available_memory()
    if needed > free:
        raise InputError(
            f"`steps={steps}` take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free; choose fewer"
        )


def _usable() -> list[Definition]:
    return [status.definition for status in runtime_statuses() if status.availability.usable]


def _long_series(bundle: Bundle, steps: int, seed: int) -> tuple[dict[str, NDArray[Any]], bool]:
    """One row of `steps` steps: the bundle's own series in drawn order, again and again, where it has any."""
    generator = np.random.default_rng(seed)
    shape = CaseShape(1, steps, mixed_lengths=False)
    feeds = dict(draw_feeds(bundle.manifest.inputs, [], shape, generator))
    series, own = bundle.series, False
    for info in bundle.manifest.inputs:
        if info.role == "features" and takes(info, series):
            joined = np.concatenate([series[i] for i in generator.permutation(len(series))])
            feeds[info.name] = np.resize(joined, (1, steps, joined.shape[1])).astype(info.dtype)
            own = True
    return feeds, own


def _follow(
    bundle: Bundle,
    definition: Definition,
    model: Path,
    feeds: Feeds,
    layers: Sequence[LayerOutput],
    expected: dict[str, NDArray[np.float64]],
) -> RuntimeDrift:
    tolerance = tolerance_for(bundle, definition.precision)
    if reads_source(definition):
        reason = "n/a: this engine runs the source model, whose layers' outputs are not to be seen"
        return RuntimeDrift(definition=definition, tolerance=tolerance, not_applicable=reason)
    (result,) = infer(model, definition, [feeds])
    if result.failure is not None:
        return RuntimeDrift(definition=definition, tolerance=tolerance, failure=result.failure.message)
    error, excess = (np.zeros(0), np.zeros(0))
    for layer in layers:
        actual, wanted = result.outputs[layer.name].astype(np.float64), expected[layer.name]
        difference = differences(actual, wanted)
        over = difference - allowed_differences(wanted, tolerance)
        by_step = [_largest_by_step(array, layer) for array in (difference, over)]
        error = np.maximum(error, by_step[0]) if error.size else by_step[0]
        excess = np.maximum(excess, by_step[1]) if excess.size else by_step[1]
    passed = np.flatnonzero(excess > 0)
    half = len(error) // 2
    return RuntimeDrift(
        definition=definition,
        tolerance=tolerance,
        errors=_windows(error),
        horizon=int(passed[0]) if passed.size else None,
        bounded=half == 0 or bool(np.median(error[half:]) <= _GROWTH * np.median(error[:half])),
    )


def _largest_by_step(array: NDArray[np.float64], layer: LayerOutput) -> NDArray[np.float64]:
    """Y [T, D, B, H], or [B, T, D, H], to [T]."""
    time_first = np.moveaxis(array, 1, 0) if layer.batch_first else array
    return np.asarray(time_first.reshape(len(time_first), -1).max(axis=1))


def _windows(error: NDArray[np.float64]) -> list[tuple[int, float]]:
    """The largest error of each window; the ends of the windows are spaced evenly on a logarithmic scale."""
    decades = np.log10(len(error))
    ends = np.unique(np.logspace(0, decades, int(decades * _WINDOWS_PER_DECADE) + 2).round().astype(int))
    starts = [0, *ends[:-1]]
    return [(int(end), float(error[start:end].max())) for start, end in zip(starts, ends, strict=True)]
