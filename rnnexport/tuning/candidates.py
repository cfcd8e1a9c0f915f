"""What is tried: each variant, in each engine that has its operators, with one thread and with all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition
from rnnexport.errors import InputError
from rnnexport.runtime.definitions import choose_runtimes, list_definitions, runtime_status
from rnnexport.tuning.graph_variants import GraphVariant
from rnnexport.tuning.results import Candidate
from rnnexport.tuning.workload import Workload

_HALF = ("bfloat16", "float16")
_QUANTIZED_TOGETHER = 256
"""Elements of a value that OpenVINO gives one scale; its default of 32 is slower."""
_FIRST_ENGINE = "onnxruntime"


def candidates_for(
    workload: Workload, variants: Sequence[GraphVariant], runtimes: Sequence[str | Path], *, lossy: bool, static: bool
) -> list[Candidate]:
    """Return what is tried, the simplest first; the first of all is the baseline, in ONNX Runtime if it is there.

    Args:
        workload: What is run.
        variants: Of the graph.
        runtimes: Those to try; by default every usable one.
        lossy: Whether half precision may be tried, too.
        static: Whether OpenVINO may compile the graph anew for each size of call.

    Raises:
        InputError: A runtime is unknown.
        RuntimeUnavailableError: None of the runtimes named is usable.
    """
    definitions, _ = choose_runtimes(runtimes)
    definitions = [d for d in definitions if workload.kind == "sequence" or not reads_source(d)]
    definitions.sort(key=lambda d: d.engine != _FIRST_ENGINE)
    if not definitions or reads_source(definitions[0]):
        raise InputError("a plan needs a runtime that reads ONNX files; name one with `runtimes`, such as ort-cpu")
    if lossy and not runtimes:
        definitions += [d for d in list_definitions() if d.precision in _HALF and runtime_status(d).availability.usable]
    found = []
    for variant in variants:
        for definition in definitions:
            if _applies(workload, variant, definition):
                found += [_candidate(variant, each) for each in _variants(definition, variant, static=static)]
    return found


def _applies(workload: Workload, variant: GraphVariant, definition: Definition) -> bool:
    """PyTorch, which runs the source model, half precision and engines of other packages have the baseline only."""
    if variant.rewrite is None:
        return workload.bundle.why_not_applicable(definition) is None
    return definition.engine in variant.engines and definition.precision == "float32"


def _variants(definition: Definition, variant: GraphVariant, *, static: bool) -> list[Definition]:
    """The definition as it is, with one thread, and with what else the engine may gain by."""
    if definition.device != "cpu" or definition.threads == 1:
        return [definition]
    found = [definition, definition.model_copy(update={"name": f"{definition.name}, 1 thread", "threads": 1})]
    if definition.engine == "openvino":
        if variant.rewrite is None and static:
            found.append(_with_option(definition, "static shapes", "static_shapes", True))
        if variant.rewrite is not None and variant.rewrite.matmul_kernel == "dequantize":
            words = f"scales for {_QUANTIZED_TOGETHER}"
            found.append(_with_option(definition, words, "DYNAMIC_QUANTIZATION_GROUP_SIZE", _QUANTIZED_TOGETHER))
    return found


def _with_option(definition: Definition, words: str, option: str, value: bool | int) -> Definition:
    options = {**definition.options, option: value}
    return definition.model_copy(update={"name": f"{definition.name}, {words}", "options": options})


def _candidate(variant: GraphVariant, definition: Definition) -> Candidate:
    return Candidate(
        form=variant.name, definition=definition, lossy=variant.lossy or definition.precision != "float32", bytes=0
    )
