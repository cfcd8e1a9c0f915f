"""A user's own module as a bundle that anyone can verify later without the module's code.

The bundle keeps the calls of the parity grid with what the module answers in float64 and in its own precision, because
the module itself cannot be part of it: code is never taken from a file.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.card import model_card
from rnnexport.bundle.manifest import Manifest, Source
from rnnexport.bundle.store import seal, write_bundle
from rnnexport.engines.contract import Feeds
from rnnexport.errors import ExportError
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.user_code import user_code
from rnnexport.exporting.writing import TOLERANCES, write_test_data
from rnnexport.parity.grid import GRIDS, STREAM_GRID, Case, draw_cases
from rnnexport.parity.oracle import KEPT_CASES, keep_cases
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    from torch import nn

    from rnnexport.capture import InputSpec


def export_module(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    out: Path,
    options: ExportOptions,
    output_names: Sequence[str] | None = None,
) -> tuple[Bundle, list[str]]:
    """Write `module` as a bundle at `out`; also returns what the user should know, in sentences.

    Raises:
        InputError: The inputs do not fit the module's forward.
        ExportError: The module cannot be written as one graph for all sizes, or fails on a drawn call.
        BundleError: `out` cannot be written.
    """
    from rnnexport.capture import DEFAULT_OPSET, capture

    opset_version = options.opset_version or DEFAULT_OPSET
    with user_code("the module's code ends the export", ExportError, ours_too=True):
        captured = capture(module, inputs, output_names=output_names, opset_version=opset_version)
    name = type(module).__name__
    graphs = Graphs.make(captured.model, options)
    manifest = graphs.described(
        Manifest(
            name=out.name,
            source=Source(kind="module", name=name),
            inputs=graphs.inputs,
            outputs=graphs.outputs,
            tolerances=TOLERANCES,
            versions=tool_versions(),
            files={},
        )
    )
    calls, answers = _calls_and_answers(module, inputs, graphs, options)
    taken = [info.name for info in manifest.inputs]
    cases = [Case(call.name, {name: call.feeds[name] for name in taken}) for call in calls]
    with write_bundle(out) as folder:
        graphs.write(manifest, folder)
        keep_cases(folder / KEPT_CASES, cases, answers)
        outputs = {info.name: answers[0][f"float64/{info.name}"].astype(info.dtype) for info in manifest.outputs}
        write_test_data(folder / "test_data_set_0", cases[0].feeds, outputs)
        description = f"The PyTorch module `{name}`, captured with one fused node per recurrent layer."
        (folder / "README.md").write_text(model_card(manifest, description), encoding="utf-8")
        seal(folder, manifest)
    return load_bundle(out), captured.notes


def _calls_and_answers(
    module: nn.Module, inputs: Sequence[InputSpec], graphs: Graphs, options: ExportOptions
) -> tuple[list[Case], list[Feeds]]:
    """Draw the parity grid and ask the module; some modules take series only sorted by length."""
    from rnnexport.exporting.reference import answers

    shapes = [dataclasses.replace(shape, mixed_lengths=options.lengths != "none") for shape in GRIDS["default"]]
    shapes += STREAM_GRID if options.streaming else ()
    names = [info.name for info in graphs.outputs]
    calls = draw_cases(graphs.drawn_inputs, [], shapes)
    try:
        return calls, answers(module, inputs, names, calls)
    except ExportError:
        longest_first = [dataclasses.replace(shape, sorted_lengths=True) for shape in shapes]
        sorted_calls = draw_cases(graphs.drawn_inputs, [], longest_first)
        with contextlib.suppress(ExportError):  # then the first failure is the one to tell
            return sorted_calls, answers(module, inputs, names, sorted_calls)
        raise
