"""An ONNX file of any origin as a bundle.

1. The file itself is the reference: evaluated operator by operator in float64, recurrent nodes straight from the
   specification. What that says at the calls of the parity grid is kept in the bundle.
2. The file is not changed; only its copy in the bundle has a place for external data.
3. Inputs are drawn from what the graph declares: integers that index a table within its size, states, lengths, masks.
   A file that needs real ones is given a npz.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from rnnexport.bundle.axes import find_input_axes
from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.manifest import Manifest, ReferenceCheck, Source, TensorInfo
from rnnexport.bundle.store import write_bundle
from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError, NoReferenceError, RnnexportError
from rnnexport.exporting.class_names import with_class_names
from rnnexport.exporting.cpp import write_cpp
from rnnexport.exporting.finishing import finish
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.streaming import make_step_graph, prove_step_graph
from rnnexport.exporting.writing import EXPORTED, TOLERANCES, input_infos, keep_answers, output_infos, save_graph
from rnnexport.files.arrays import read_npz
from rnnexport.inspecting.layers import data_inputs
from rnnexport.onnx_files.reading import external_files, read_model
from rnnexport.parity.float64.cost import cost_of_calls
from rnnexport.parity.grid import Case, draw_cases, grid_shapes
from rnnexport.passes.equal_dimensions import EqualDimensions
from rnnexport.passes.output_shapes import OutputShapes, infer_shapes
from rnnexport.runtime.worker import Arrays, CaseResult, run_job
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    import onnx_ir

_MUCH_MEMORY, _MUCH_TIME = 4e9, 60.0
"""Bytes and seconds of a reference that are told beforehand."""
_STRETCHES = (1, 40)
"""Of the grid's time steps: a model of audio may take no fewer than hundreds of samples."""


def export_onnx(path: Path, out: Path | None, options: ExportOptions) -> Bundle:
    """Write an ONNX file as a bundle at `out` (default: `exported/NAME`).

    Args:
        path: The file, with external data beside it if it has any.
        out: The bundle's folder.
        options: Of these, `sample`, `streaming`, `cpp`, `class_names` and `on_note`, which is told before it begins
            where the reference takes much memory or time.

    Raises:
        InputError: The file is no ONNX file that can be read, its inputs cannot be drawn, or `sample` does not fit.
        NoReferenceError: What the file should give is not proven: an operator is not, or differs from ONNX Runtime's.
        ExportError: The model cannot run step by step.
        BundleError: `out` cannot be written.
    """
    model = read_model(path)
    _check_ends(path, model)
    _name_dimensions(model)
    EqualDimensions()(model)
    infer_shapes(model)
    OutputShapes()(model)
    inputs = named_inputs(model)
    step = make_step_graph(model) if options.streaming else None
    calls, results = _answered(path, model, options)
    answers = [result.outputs for result in results if result.outputs]
    outside = [
        f"{call.name}: {result.extras['outside'].partition(': ')[2]}"
        for call, result in zip(calls, results, strict=True)
        if not result.outputs
    ]
    calls = [call for call, result in zip(calls, results, strict=True) if result.outputs]
    checked = next(result for result in reversed(results) if result.outputs)
    target = out or EXPORTED / path.stem
    manifest = Manifest(
        name=target.name,
        source=Source(kind="onnx", name=path.name),
        inputs=inputs,
        outputs=tuple(_as_answered(info, answers[0]) for info in output_infos(model, inputs)),
        tolerances=TOLERANCES,
        reference=ReferenceCheck.model_validate({**checked.extras, "outside": outside}),
        versions=tool_versions(),
        files={},
    )
    manifest = with_class_names(manifest, options.class_names, answers)
    manifest = Graphs(model, step, inputs, options).described(manifest)
    with write_bundle(target) as folder:
        shutil.copyfile(path, folder / "model.onnx")
        for name in external_files(path):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path.parent / name, folder / name)
        if step is not None:
            assert manifest.step is not None
            save_graph(step, manifest.source, manifest.step.inputs, folder / "step.onnx")
            prove_step_graph(manifest, folder, calls)
        if options.cpp:
            write_cpp(manifest, folder)
        keep_answers(folder, manifest.outputs, calls, answers)
        description = f"The ONNX file `{path.name}`. Its reference is the file itself, evaluated in float64."
        finish(folder, manifest, description, sbom=options.sbom)
    return load_bundle(target)


def _check_ends(path: Path, model: onnx_ir.Model) -> None:
    """Refuse what no call can be made of, or judged by.

    Raises:
        InputError: An input or output is no tensor of numbers, or an input has no number of dimensions.
    """
    import onnx_ir

    for kind, values in (("input", data_inputs(model)), ("output", model.graph.outputs)):
        for value in values:
            if value.type is not None and not isinstance(value.type, onnx_ir.TensorType):
                raise InputError(f"{path.name}: {kind} {value.name!r} is no tensor; only tensors of numbers are judged")
            if value.dtype is onnx_ir.DataType.STRING:
                raise InputError(f"{path.name}: {kind} {value.name!r} is text; only tensors of numbers are judged")
    unknown = [value.name for value in data_inputs(model) if value.shape is None]
    if unknown:
        raise InputError(f"{path.name}: input {unknown[0]!r} has no number of dimensions; give it one in the file")


def _as_answered(info: TensorInfo, answers: Arrays) -> TensorInfo:
    """An output of which the file says no shape or a false one, and inference finds none, has that of its answers."""
    rank = answers[f"float64/{info.name}"].ndim
    if len(info.shape) == rank:
        return info
    return info.model_copy(update={"shape": tuple(f"{info.name}_{axis}" for axis in range(rank))})


def _name_dimensions(model: onnx_ir.Model) -> None:
    """Name the dynamic dimensions of inputs that have no names, so that inference tells which outputs have them."""
    import onnx_ir

    shapes = {info.name: info.shape for info in input_infos(model)}
    for value in model.graph.inputs:
        if value.shape is not None and value.name in shapes:
            value.shape = onnx_ir.Shape(shapes[value.name])
    for value in model.graph.outputs:
        if value.shape is not None and any(not isinstance(d, int) and d.value is None for d in value.shape):
            value.shape = None


def _answered(path: Path, model: onnx_ir.Model, options: ExportOptions) -> tuple[list[Case], list[CaseResult]]:
    """Calls and what the file gives in float64; longer calls are drawn where it does not take most of the usual ones.

    Raises:
        InputError: It takes none of them, or not the sample.
    """
    sample = Path(options.sample) if options.sample is not None else None
    tried: list[tuple[list[Case], list[CaseResult]]] = []
    for stretch in (1,) if sample else _STRETCHES:
        calls = sample_cases(sample, model) if sample else drawn_cases(model, stretch, streaming=options.streaming)
        if note := _cost(path, calls):
            options.on_note(note)
        tried.append((calls, _answers(path, calls)))
        if 2 * _answers_in(tried[-1][1]) > len(calls):
            break
    calls, results = max(tried, key=lambda each: _answers_in(each[1]))
    if any(result.outputs for result in results):
        return calls, results
    hint = "" if sample else "; give inputs that the model takes with `sample=sample.npz`"
    outside = results[0].extras["outside"]
    raise InputError(f"{path.name} has no reference at {calls[0].name}: {outside}{hint}")


def _answers_in(results: Sequence[CaseResult]) -> int:
    return sum(bool(result.outputs) for result in results)


def _cost(path: Path, calls: Sequence[Case]) -> str | None:
    """What the reference takes, and what a smaller call would, where it is much."""
    shapes = [{name: array.shape for name, array in call.feeds.items()} for call in calls]
    cost = cost_of_calls(path, shapes)
    if cost.memory_bytes <= _MUCH_MEMORY and cost.seconds <= _MUCH_TIME:
        return None
    smallest = min(shapes, key=lambda call: sum(math.prod(shape) for shape in call.values()))
    one = ", ".join(f"{name} {list(shape)}" for name, shape in smallest.items())
    alone = cost_of_calls(path, [smallest] * 2)  # a given call is made twice
    return (
        f"the reference of {path.name} takes {cost}, estimated; with `sample=sample.npz` that holds {one} "
        f"it takes {alone}"
    )


def drawn_cases(model: onnx_ir.Model, stretch: int = 1, *, streaming: bool = False) -> list[Case]:
    """Draw the parity grid for a graph; a call whose sizes the graph fixes is made once, and the first one twice.

    `stretch` multiplies the time steps.
    """
    grid = grid_shapes("default", streaming=streaming)
    shapes = [replace(shape, time_steps=shape.time_steps * stretch) for shape in grid]
    drawn = draw_cases(named_inputs(model), [], shapes)
    return [*{(case.values, _shapes(case.feeds)): case for case in drawn}.values(), drawn[0]]


def _shapes(feeds: Feeds) -> str:
    return str({name: array.shape for name, array in feeds.items()})


def named_inputs(model: onnx_ir.Model) -> tuple[TensorInfo, ...]:
    """Describe the inputs; the batch is called so, also where the file has no name for it.

    What the recurrent layers take for the batch is it. Where that is not known, and no dimension has a usual name, the
    first unnamed one of each input, and a state's middle one, are it. Dimensions that the graph makes equal are one.
    """
    if len(data_inputs(model)) > 1:
        model = model.clone()
        _name_dimensions(model)
        EqualDimensions()(model)
        infer_shapes(model)  # which tells what the layers run over
    inputs = input_infos(model)
    if any(info.batch_dimension for info in inputs):
        return inputs
    rows = set()
    for info in inputs:
        axis = 1 if len(info.shape) == 3 and isinstance(info.shape[0], int) else 0
        rows |= {d for d in info.shape[axis : axis + 1] if d == f"{info.name}_{axis}"}
    shapes = [tuple("batch" if d in rows else d for d in info.shape) for info in inputs]
    return find_input_axes([info.model_copy(update={"shape": s}) for info, s in zip(inputs, shapes, strict=True)])


def sample_cases(path: Path, model: onnx_ir.Model) -> list[Case]:
    """Return the call that a npz holds, and its first row alone where the batch is dynamic.

    Raises:
        InputError: It is no npz with one array for each input, of its type and shape.
    """
    inputs = named_inputs(model)
    feeds = _read_sample(path, inputs)
    whole = Case("the given inputs", feeds)
    batches = {info.name: info.batch_axis for info in inputs if info.batch_axis is not None}
    if not batches:
        return [whole, whole]
    row = {name: array.take([0], batches[name]) if name in batches else array for name, array in feeds.items()}
    return [whole, Case("their first row", row), whole]


def _read_sample(path: Path, inputs: tuple[TensorInfo, ...]) -> dict[str, NDArray[Any]]:
    arrays = read_npz(path)
    wanted = {info.name: info for info in inputs}
    if arrays.keys() != wanted.keys():
        raise InputError(f"{path} holds {sorted(arrays)}, the model takes {sorted(wanted)}")
    for name, array in arrays.items():
        info = wanted[name]
        fits = len(array.shape) == len(info.shape) and all(
            isinstance(d, str) or d == size for d, size in zip(info.shape, array.shape, strict=True)
        )
        if str(array.dtype) != info.dtype or not fits:
            given, taken = f"{array.dtype} {list(array.shape)}", f"{info.dtype} {list(info.shape)}"
            raise InputError(f"{path}: {name!r} is {given}, the model takes {taken}")
    return arrays


def _answers(path: Path, calls: list[Case]) -> list[CaseResult]:
    job = "rnnexport.parity.onnx_float64:float64_job"
    results = run_job(job, {"model": str(path)}, [call.feeds for call in calls])
    answers: list[CaseResult] = []
    for call, result in zip(calls, results, strict=True):
        try:
            answers.append(result.checked())
        except NoReferenceError:
            raise
        except RnnexportError as exc:
            raise InputError(f"{path.name} has no reference at {call.name}: {exc}") from exc
    return answers
