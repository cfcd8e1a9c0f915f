"""The graphs of a bundle, in every form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from rnnexport.bundle.axes import with_axes
from rnnexport.bundle.manifest import Manifest, StepGraphInfo, TensorInfo
from rnnexport.exporting.cpp import write_cpp
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.streaming import make_step_graph, prove_step_graph
from rnnexport.exporting.writing import input_infos, output_infos, save_graph

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True, slots=True)
class Graphs:
    """A model's sequence graph and, where asked for, its step graph."""

    sequence: onnx_ir.Model
    step: onnx_ir.Model | None
    drawn_inputs: tuple[TensorInfo, ...]
    """Inputs of the graph before its lengths were treated, which know their time axis."""
    options: ExportOptions

    @classmethod
    def make(
        cls,
        captured: onnx_ir.Model,
        options: ExportOptions,
        values: Mapping[str, tuple[float, float] | None] = MappingProxyType({}),
    ) -> Self:
        """Treat the lengths of a captured graph, in place, as asked for; `values` are the inputs' stated ranges.

        The graph names the dimensions of the batch and of time, has the shapes that are known, and has the lengths as
        `sequence_lens` of its recurrent nodes, which are time-major.

        Raises:
            ExportError: A node's lengths cannot be made exact, or the model cannot run step by step.
        """
        from rnnexport.passes.captured_values import CapturedValues
        from rnnexport.passes.drop_lengths import DropLengths
        from rnnexport.passes.lengths import ExactLengths
        from rnnexport.passes.transpositions import Transpositions

        CapturedValues()(captured)
        Transpositions()(captured)
        inputs = tuple(info.model_copy(update={"values": values.get(info.name)}) for info in input_infos(captured))
        step = make_step_graph(captured) if options.streaming else None
        if options.lengths == "exact":
            ExactLengths()(captured)
        elif options.lengths == "none":
            DropLengths()(captured)
        return cls(captured, step, inputs, options)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What the sequence graph takes."""
        taken = {value.name for value in self.sequence.graph.inputs}
        return tuple(info for info in self.drawn_inputs if info.name in taken)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What the sequence graph gives."""
        return output_infos(self.sequence, self.drawn_inputs)

    def described(self, manifest: Manifest) -> Manifest:
        """Return the manifest with the step graph in it."""
        if self.step is None:
            return manifest
        from rnnexport.passes.step import BATCH_DIMENSION, TIME_DIMENSION, state_pairs

        batch, time = ({self.step.metadata_props[kind]} for kind in (BATCH_DIMENSION, TIME_DIMENSION))
        inputs = with_axes(input_infos(self.step), batch, time)
        info = StepGraphInfo(inputs=inputs, outputs=output_infos(self.step, inputs))
        return manifest.model_copy(update={"step": info, "state_pairs": tuple(state_pairs(self.step))})

    def write(self, manifest: Manifest, folder: Path) -> None:
        """Write every form into `folder`.

        Raises:
            ExportError: A series fed to the step graph in chunks does not give what it gives whole, or the step graph
            cannot be fed from C++.
            EngineError: OpenVINO cannot convert a graph.
        """
        save_graph(self.sequence, manifest.source, manifest.inputs, folder / "model.onnx")
        if self.step is not None:
            assert manifest.step is not None
            save_graph(self.step, manifest.source, manifest.step.inputs, folder / "step.onnx")
            prove_step_graph(manifest, folder)
        if self.options.cpp:
            write_cpp(manifest, folder)
        if self.options.openvino:
            self._write_ir(manifest, folder)

    def _write_ir(self, manifest: Manifest, folder: Path) -> None:
        from rnnexport.engines.openvino_ir import StatesInside, write_ir

        compress = self.options.compress
        write_ir(folder / "model.onnx", folder / "model.xml", compress=compress)
        if manifest.step is not None:
            states = StatesInside(manifest.state_pairs, _streams_axis(manifest.step)) if self.options.stateful else None
            write_ir(folder / "step.onnx", folder / "step.xml", compress=compress, states=states)


def _streams_axis(step: StepGraphInfo) -> tuple[str, int] | None:
    """An input with the time dimension, so no state, and its axis of the streams."""
    both = ((i.name, i.batch_axis) for i in step.inputs if i.batch_axis is not None and i.time_axis is not None)
    return next(both, None)
