"""A user's own module as a bundle that anyone can verify later without the module's code.

The bundle keeps the calls of the parity grid with what the module answers in float64 and in its own precision, because
the module itself cannot be part of it: code is never taken from a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.manifest import Manifest, Sizes, Source
from rnnexport.bundle.store import write_bundle
from rnnexport.capture.inputs import SizeRange
from rnnexport.errors import ExportError
from rnnexport.exporting.class_names import with_class_names
from rnnexport.exporting.finishing import finish
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.judging import REQUIRED, RIGHT, EngineJudgement, judge
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.sample import read_calls, sizes_of, with_values_of
from rnnexport.exporting.user_code import user_code
from rnnexport.exporting.writing import TOLERANCES, keep_answers
from rnnexport.parity.compare import Reference
from rnnexport.parity.grid import Case
from rnnexport.parity.oracle import references_of
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    from torch import nn

    from rnnexport.capture import Captured, InputSpec
    from rnnexport.exporting.decoder import DecoderGraph


def export_module(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    out: Path,
    options: ExportOptions,
) -> tuple[Bundle, list[str]]:
    """Write `module` as a bundle at `out`; also returns what the user should know, in sentences.

    Raises:
        InputError: The inputs do not fit the module's forward.
        ExportError: The module cannot be written as one graph for all sizes, or fails on a drawn call.
        BundleError: `out` cannot be written.
    """
    from rnnexport.capture import DEFAULT_OPSET, capture
    from rnnexport.exporting.calls import make_calls
    from rnnexport.exporting.decoder import DecoderModules, make_decoder

    decoder = None
    if options.decoder_step is not None:
        modules = DecoderModules(module, inputs, options)
        module = modules.encoder()
    opset_version = options.opset_version or DEFAULT_OPSET
    sample = read_calls(Path(options.sample), inputs) if options.sample is not None else []
    inputs = with_values_of(sample, inputs) if sample else inputs
    with user_code("the module's code ends the export", ExportError, ours_too=True):
        captured = capture(
            module,
            inputs,
            output_names=options.output_names,
            opset_version=opset_version,
            known_sizes=sizes_of(sample, inputs),
        )
    name = type(module).__name__
    graphs = Graphs.make(captured.model, options, {spec.name: spec.values for spec in inputs})
    calls = make_calls(module, inputs, captured, graphs, sample)
    if options.decoder_step is not None:
        with user_code("the module's code ends the export", ExportError, ours_too=True):
            decoder = make_decoder(modules, graphs, calls)
    manifest = graphs.described(
        Manifest(
            name=out.name,
            source=Source(kind="module", name=name),
            inputs=graphs.inputs,
            outputs=graphs.outputs,
            decoder=decoder.info if decoder else None,
            sizes={d: Sizes(minimum=r.minimum, step=r.step) for d, r in captured.ranges.items() if r != SizeRange()},
            tolerances=TOLERANCES,
            versions=tool_versions(),
            files={},
        )
    )
    manifest = with_class_names(manifest, options.class_names, calls.answers)
    taken = [info.name for info in manifest.inputs]
    cases = [Case(call.name, {name: call.feeds[name] for name in taken}) for call in calls.cases]
    with write_bundle(out) as folder:
        graphs.write(manifest, folder)
        expected = references_of(cases, calls.answers, manifest.outputs)
        runtimes = _judged(folder / "model.onnx", cases, expected, calls.conditions, captured, strict=options.strict)
        if decoder is not None:
            decoder.write(manifest, folder)
            runtimes = _with_decoder(runtimes, decoder, folder, strict=options.strict)
        manifest = manifest.model_copy(update={"runtimes": runtimes})
        keep_answers(folder, manifest.outputs, cases, calls.answers)
        description = f"The PyTorch module `{name}`, captured with one fused node per recurrent layer."
        finish(folder, manifest, description, sbom=options.sbom)
    others = [f"{engine}: the graph {text}" for engine, text in runtimes.items() if text != RIGHT]
    told = [*captured.notes, *calls.notes]
    if decoder is not None:
        told += [f"the decoder's step: {note}" for note in decoder.captured.notes if note not in told]
    return load_bundle(out), [*told, *others]


def _judged(
    model: Path,
    cases: Sequence[Case],
    expected: Sequence[Mapping[str, Reference]],
    conditions: Mapping[str, str],
    captured: Captured,
    *,
    strict: bool,
) -> dict[str, str]:
    """Judge the graph in each runtime.

    Raises:
        ExportError: ONNX Runtime does not give what the module gives, or, if `strict`, another one does not.
    """
    found: dict[str, str] = {}
    for engine, judgement in judge(model, cases, expected, TOLERANCES["float32"]).items():
        found[engine] = judgement.text
        if judgement.text == RIGHT or (not strict and (engine != REQUIRED or judgement.is_rounding)):
            continue
        if engine == REQUIRED:
            raise ExportError(_why_not(judgement, conditions, captured))
        raise ExportError(f"{engine}: the graph {judgement.text}; without strict it is written, and says so")
    return found


def _with_decoder(runtimes: Mapping[str, str], decoder: DecoderGraph, folder: Path, *, strict: bool) -> dict[str, str]:
    """Judge the decoder's step in each runtime, and then what both graphs decode.

    Raises:
        ExportError: As for one graph.
    """
    cases, found = decoder.step
    expected = references_of(cases, found, decoder.info.outputs)
    of_step = _judged(folder / "decoder.onnx", cases, expected, {}, decoder.captured, strict=strict)
    together: dict[str, str] = {}
    for engine, text in runtimes.items():
        fault = "" if of_step[engine] == RIGHT else f"of the decoder {of_step[engine]}"
        if text == RIGHT and not fault:
            fault = decoder.why_not_decoded(folder, engine)
        if fault and text == RIGHT and (engine == REQUIRED or strict):
            raise ExportError(f"{engine}: the graph {fault}")
        together[engine] = fault if text == RIGHT and fault else text
    return together


def _why_not(judgement: EngineJudgement, conditions: Mapping[str, str], captured: Captured) -> str:
    """Why a graph is not what the module is, as far as the trace shows it."""
    where = "" if judgement.case is None else conditions.get(judgement.case.name, "")
    if captured.cuts and judgement.case is not None:
        return (
            f"{captured.cuts[0]}forward cuts a dimension of any size into pieces, and at "
            f"{judgement.case.name} they are other ones than the graph holds; use a number of pieces that all sizes "
            "have, or state the sizes"
        )
    unless = f"; the trace took for granted that {where}" if where else ""
    return f"in ONNX Runtime the graph {judgement.text}, so it is not what the module computes{unless}"
