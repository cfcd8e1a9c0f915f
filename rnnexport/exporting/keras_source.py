"""A Keras model as a bundle that anyone can verify later without Keras.

1. The file is read and never run. What it computes is evaluated in float64 NumPy by Keras's equations, at the calls of
   the parity grid; the bundle keeps calls and answers.
2. Where the model masks steps, the calls have masked steps: at the end of a row, in the middle, and all of them.
3. Calls that the model cannot take, such as a series shorter than a convolution, are left out, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.manifest import Manifest, Source
from rnnexport.bundle.store import write_bundle
from rnnexport.engines.contract import Feeds
from rnnexport.errors import ExportError, InputError
from rnnexport.exporting.class_names import with_class_names
from rnnexport.exporting.finishing import finish
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.writing import EXPORTED, TOLERANCES, keep_answers
from rnnexport.parity.grid import Case, draw_cases, grid_shapes
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    from rnnexport.keras_files.model import Model

_LARGEST = 1e30
"""Answers above it are near what float32 can hold, and say nothing of a runtime."""


def export_keras(path: Path, out: Path | None, options: ExportOptions) -> tuple[Bundle, list[str]]:
    """Write a Keras file as a bundle at `out` (default: `exported/NAME`); also returns what its user should know.

    Raises:
        InputError: The file is damaged, hostile, or holds no whole model; h5py is missing.
        ExportError: It holds a layer, an option or a call that cannot be exported, or cannot run step by step.
        BundleError: `out` cannot be written.
    """
    from rnnexport.capture.opsets import DEFAULT_OPSET
    from rnnexport.keras_files.archive import read_keras_file
    from rnnexport.keras_files.masked_inputs import masked_inputs, masks_reach_layers
    from rnnexport.keras_files.readable import check_readable
    from rnnexport.keras_files.typed_model import read_model
    from rnnexport.keras_files.writing import write_model

    if options.lengths != "exact":
        raise InputError("`lengths` is for packed sequences of a module; the masks of a Keras model are part of it")
    check_readable(path)
    model = read_model(read_keras_file(path))
    if options.streaming and masks_reach_layers(model):
        raise ExportError("recurrent layers with masked steps cannot run step by step; export it without `streaming`")
    graphs = Graphs.make(write_model(model, options.opset_version or DEFAULT_OPSET), options)
    target = out or EXPORTED / path.stem
    manifest = graphs.described(
        Manifest(
            name=target.name,
            source=Source(kind="keras", name=path.name),
            inputs=graphs.inputs,
            outputs=graphs.outputs,
            tolerances=TOLERANCES,
            versions=tool_versions(),
            files={},
        )
    )
    drawn = draw_cases(graphs.drawn_inputs, [], grid_shapes("default", streaming=options.streaming))
    calls, answers, left_out = _answered(model, _with_masked_steps(drawn, masked_inputs(model)))
    manifest = with_class_names(manifest, options.class_names, answers)
    notes = list(dict.fromkeys(model.notes))
    if left_out:
        notes.append(f"calls that the model cannot take are not part of the evidence: {', '.join(left_out)}")
    with write_bundle(target) as folder:
        graphs.write(manifest, folder)
        keep_answers(folder, manifest.outputs, calls, answers)
        description = (
            f"The Keras model `{path.name}`, with one fused node per recurrent layer where its activations allow one."
        )
        finish(folder, manifest, description, sbom=options.sbom)
    return load_bundle(target), notes


def _with_masked_steps(calls: Sequence[Case], values: dict[str, float]) -> list[Case]:
    """Write the value that masks a step into some of each row's."""
    generator = np.random.default_rng(0)
    masked = []
    for number, call in enumerate(calls):
        feeds = {
            name: _masked(x, values[name], generator, number) if name in values else x for name, x in call.feeds.items()
        }
        masked.append(replace(call, feeds=feeds))
    return masked


def _masked(x: NDArray[Any], value: float, generator: np.random.Generator, first: int) -> NDArray[Any]:
    """A row is, in turn, whole, padded at the end, with gaps, padded in front, with gaps and padding, or all masked."""
    x = x.copy()
    steps = np.arange(x.shape[1])
    for number, row in enumerate(x, first):
        gaps = generator.random(len(steps)) < 0.3
        end = generator.integers(1, len(steps) + 1)
        masks = [steps < 0, steps >= end, gaps, steps < end - 1, gaps | (steps >= end), steps >= 0]
        row[masks[number % len(masks)]] = value
    return x


def _answered(model: Model, calls: Sequence[Case]) -> tuple[list[Case], list[Feeds], list[str]]:
    """The calls that the model can take with its answers to them, and the names of the others.

    Raises:
        ExportError: It can take none.
    """
    from rnnexport.keras_files.reference import evaluate

    taken, answers, left_out, reason = [], [], [], ""
    for call in calls:
        try:
            wide, narrow = evaluate(model, call.feeds), evaluate(model, call.feeds, np.float32)
        except ValueError as exc:  # NumPy's, too, of shapes that do not fit
            left_out.append(call.name)
            reason = str(exc)
            continue
        if not all((np.abs(x) < _LARGEST).all() for x in (*wide.values(), *narrow.values())):
            left_out.append(call.name)
            reason = "its outputs are too large for float32"
            continue
        taken.append(call)
        answers.append({f"float64/{n}": x for n, x in wide.items()} | {f"float32/{n}": x for n, x in narrow.items()})
    if not taken:
        raise ExportError(f"the model can be called with no series of the parity grid: {reason}")
    return taken, [*answers], left_out
