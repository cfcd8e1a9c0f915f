"""What `assert_parity` does: export, verify, and the given inputs as calls of their own."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.capture import InputSpec, parse_input_spec
from rnnexport.errors import ExportError, InputError
from rnnexport.exporting.export import export_with
from rnnexport.exporting.options import ExportOptions, Lengths
from rnnexport.exporting.reference import answers
from rnnexport.exporting.sources import prepared
from rnnexport.parity.compare import size_of
from rnnexport.parity.grid import Case
from rnnexport.parity.options import GridName, VerifyOptions
from rnnexport.parity.oracle import kept_cases, references_of
from rnnexport.parity.results import RuntimeParity, judge_case
from rnnexport.parity.verify import verify_with
from rnnexport.runtime.worker import infer

_GIVEN = "the inputs given"


def wrong_runtimes(
    model: nn.Module | Bundle | str | Path,
    inputs: Sequence[Any],
    folder: Path,
    runtimes: Sequence[str | Path],
    grid: GridName,
    lengths: Lengths,
    streaming: bool,
) -> list[str]:
    """Return a line for each runtime that is wrong; `folder` is where the bundle to judge may lie.

    Raises:
        InputError: `inputs` do not fit the model, or there is no such file or folder.
        RuntimeUnavailableError: A runtime that was named does not work here.
    """
    specs: list[InputSpec] = []
    try:
        if isinstance(model, nn.Module):
            specs = input_specs(model, inputs)
            options = ExportOptions(folder, inputs=specs, lengths=lengths, streaming=streaming)
            bundle = export_with(model, options)
        else:
            bundle = _bundle_of(model, inputs, folder, lengths, streaming=streaming)
    except ExportError as exc:
        return [str(exc)]
    report = verify_with(bundle.path, VerifyOptions(runtimes, grid=grid))
    if report.not_usable:
        raise report.not_usable[0].error()
    judged = report.runtimes
    if isinstance(model, nn.Module) and (feeds := _given(specs, inputs)):
        judged = [*judged, *_judged(model, specs, feeds, bundle, report.runtimes)]
    return [f"{each.definition.name}: {each.why_wrong}" for each in judged if not each.passed]


def _bundle_of(
    model: Bundle | str | Path, inputs: Sequence[Any], folder: Path, lengths: Lengths, *, streaming: bool
) -> Bundle:
    """Return a copy of a bundle, which verify may write to, or the bundle of a file."""
    if inputs:
        raise InputError("only a module takes inputs; a bundle or a file knows its own")
    if lengths != "exact" or streaming:
        raise InputError("`lengths` and `streaming` are for a module; leave them out")
    path = model.path if isinstance(model, Bundle) else Path(model)
    if not path.exists():
        raise InputError(f"{path} does not exist; it is looked up from {Path.cwd()}")
    if not path.is_dir() or (path / "model.safetensors").is_file():
        return export_with(path, ExportOptions(folder))
    load_bundle(path)  # names what is wrong where the user looks for it
    shutil.copytree(path, folder)
    return load_bundle(folder)


def input_specs(module: nn.Module, inputs: Sequence[Any]) -> list[InputSpec]:
    """Return what is given as specifications; tensors and arrays by their place in `forward`.

    Raises:
        InputError: A text is no specification, or there are more inputs than `forward` takes.
    """
    if not inputs:
        raise InputError("a module needs its inputs; give them like 'x:float32[batch,time,12]', or as tensors")
    names = list(inspect.signature(module.forward).parameters)
    if len(inputs) > len(names):
        raise InputError(f"forward takes {len(names)} inputs, not {len(inputs)}")
    return [
        parse_input_spec(given) if isinstance(given, str) else _spec_of(name, _array(given))
        for name, given in zip(names, inputs, strict=False)
    ]


def _spec_of(name: str, array: NDArray[Any]) -> InputSpec:
    dynamic = ("batch", "time")[: array.ndim]
    return InputSpec(name, str(array.dtype), (*dynamic, *array.shape[len(dynamic) :]))


def _array(given: Any) -> NDArray[Any]:
    return given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)


def _given(specs: Sequence[InputSpec], inputs: Sequence[Any]) -> Mapping[str, NDArray[Any]]:
    """The call that was given; none where an input is only specified."""
    if any(isinstance(given, str) for given in inputs):
        return {}
    return {spec.name: _array(given) for spec, given in zip(specs, inputs, strict=True)}


def _judged(
    module: nn.Module,
    specs: Sequence[InputSpec],
    feeds: Mapping[str, NDArray[Any]],
    bundle: Bundle,
    runtimes: Sequence[RuntimeParity],
) -> list[RuntimeParity]:
    """Judge the given call in the runtimes that were judged at the grid."""
    ready = prepared(module, specs)
    whole = Case(_GIVEN, feeds)
    answered = answers(ready.module, ready.inputs, [info.name for info in bundle.manifest.outputs], [whole])
    (expected,) = references_of([whole], answered, bundle.manifest.outputs)
    _, (kept, *_) = kept_cases(bundle)
    for name, reference in expected.items():  # what float32 errs by is known from more calls than this one
        usual = kept[name].float32_error / size_of(kept[name].expected)
        error = max(reference.float32_error, usual * size_of(reference.expected))
        expected[name] = replace(reference, float32_error=error)
    taken = {info.name: feeds[info.name] for info in bundle.manifest.inputs}
    found = []
    for runtime in runtimes:
        if runtime.not_applicable is None:
            (result,) = infer(bundle.model_path, runtime.definition, [taken])
            verdict = judge_case(0, _GIVEN, result, expected, runtime.tolerance)
            found.append(RuntimeParity(definition=runtime.definition, tolerance=runtime.tolerance, cases=[verdict]))
    return found
