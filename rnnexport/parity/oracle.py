"""The float64 reference of a bundle, and how far PyTorch's own float32 is from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines import get_engine, reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import BundleError, InputError, NoReferenceError
from rnnexport.files.arrays import read_npz
from rnnexport.parity.compare import Reference, size_of
from rnnexport.parity.grid import Case, Values
from rnnexport.runtime.worker import Arrays, CaseResult, Extras, run_job

KEPT_CASES = "parity_cases.npz"
_FLOAT64 = Definition(name="oracle", engine="torch", precision="float64")
_FLOAT32 = Definition(name="torch-float32", engine="torch", precision="float32")


def references(
    bundle: Bundle, cases: Sequence[Feeds], values: Sequence[Values] | None = None
) -> list[dict[str, Reference]]:
    """Compute what each output of each call should be, in one process of its own.

    `values` says of each call which kind its inputs are; by default they are normal.

    Where the source model cannot be rebuilt, its graph is evaluated in float64.

    Raises:
        NoReferenceError: The graph holds an operator that is not proven here, or differs from ONNX Runtime at a node.
        InputError: The graph does not take such a call.
        EngineError: The source model or the graph could not be run.
    """
    if bundle.manifest.source.kind == "builtin":
        arguments = {"description": str(bundle.description_path)}
        sources = [source_feeds(feeds) for feeds in cases]
        results = run_job("rnnexport.parity.oracle:reference_job", arguments, sources)
    else:
        job = "rnnexport.parity.onnx_float64:float64_job"
        results = run_job(job, {"model": str(bundle.model_path)}, cases)
    kinds = values or ["normal"] * len(cases)
    answers = [_inside(result) for result in results]
    unpacked = [_unpack(bundle.manifest.outputs, *call) for call in zip(answers, cases, strict=True)]
    return _pooled(kinds, unpacked)


def _inside(result: CaseResult) -> Arrays:
    """The outputs of a call.

    Raises:
        InputError: The model does not take it.
    """
    if outside := result.checked().extras.get("outside"):
        raise InputError(outside)
    return result.outputs


def source_feeds(feeds: Feeds) -> Feeds:
    """Return what a `SequenceClassifier` takes for a call of its graph: without lengths, every row is a full one."""
    x = feeds["x"]
    return {"x": x, "lengths": feeds.get("lengths", np.full(x.shape[0], x.shape[1]))}


def feeds_for(definition: Definition, cases: Sequence[Feeds]) -> Sequence[Feeds]:
    """Return what a runtime takes for calls of the graph; the torch engine runs the source model."""
    return [source_feeds(feeds) for feeds in cases] if reads_source(definition) else cases


def keep_cases(path: Path, cases: Sequence[Case], outputs: Sequence[Feeds]) -> None:
    """Write calls and their outputs, named as `reference_job` names them, to a npz that `kept_cases` reads."""
    arrays = {
        f"{number}:{case.name}/{kind}/{name}": array
        for number, (case, answers) in enumerate(zip(cases, outputs, strict=True))
        for kind, group in (("input", case.feeds), ("output", answers))
        for name, array in group.items()
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)


def kept_cases(bundle: Bundle) -> tuple[list[Case], list[dict[str, Reference]]]:
    """Return the calls that the bundle of a user's module or file keeps, and what their outputs should be.

    Raises:
        NoReferenceError: It is of a file whose reference was not held against ONNX Runtime when it was exported.
    """
    if bundle.manifest.source.kind == "onnx" and bundle.manifest.reference is None:
        raise NoReferenceError(
            f"bundle {str(bundle.path)!r} has no proven reference, so there is no verdict: it was exported before "
            "references were held against ONNX Runtime; export the file again"
        )
    return read_cases(bundle.path / KEPT_CASES, bundle.manifest.inputs, bundle.manifest.outputs)


def read_cases(
    path: Path, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> tuple[list[Case], list[dict[str, Reference]]]:
    """Read what `keep_cases` wrote.

    Raises:
        BundleError: It is not of these inputs and outputs.
    """
    groups: dict[str, dict[str, dict[str, NDArray[Any]]]] = {}
    try:
        for key, array in read_npz(path).items():
            case, kind, name = key.split("/", 2)
            groups.setdefault(case, {"input": {}, "output": {}})[kind][name] = array
        _check_kept(inputs, outputs, [*groups.values()])
    except (KeyError, ValueError) as exc:
        raise BundleError(f"{path} does not fit the manifest: {exc}; export again") from exc
    cases = [Case(name.partition(":")[2], group["input"]) for name, group in groups.items()]
    return cases, references_of(cases, [group["output"] for group in groups.values()], outputs)


def _check_kept(
    takes: Sequence[TensorInfo], gives: Sequence[TensorInfo], groups: Sequence[Mapping[str, Feeds]]
) -> None:
    """Raise `ValueError` where an array is missing or is not what the manifest says."""
    if not groups:
        raise ValueError("it holds no call")
    inputs = {info.name: len(info.shape) for info in takes}
    outputs = {f"{kind}/{info.name}": len(info.shape) for info in gives for kind in ("float64", "float32")}
    for group in groups:
        answers = group["output"]
        if not inputs.keys() <= group["input"].keys() or answers.keys() != outputs.keys():
            raise ValueError("a call has not all inputs and outputs")
        for arrays, ranks in ((group["input"], inputs), (answers, outputs)):
            for name, array in arrays.items():
                if array.dtype.kind not in "biuf" or array.ndim != ranks.get(name, array.ndim):
                    raise ValueError(f"{name!r} is {array.dtype} {list(array.shape)}")
        for info in gives:
            wide, narrow = answers[f"float64/{info.name}"], answers[f"float32/{info.name}"]
            if wide.shape != narrow.shape:
                raise ValueError(f"{info.name!r} is {list(wide.shape)} in float64 and {list(narrow.shape)} in float32")


def references_of(
    cases: Sequence[Case], answers: Sequence[Feeds], outputs: Sequence[TensorInfo]
) -> list[dict[str, Reference]]:
    """Return what each output of each call should be, from answers named as `reference_job` names them."""
    unpacked = [_unpack(outputs, answer, case.feeds) for answer, case in zip(answers, cases, strict=True)]
    return _pooled([case.values for case in cases], unpacked)


def _unpack(outputs: Sequence[TensorInfo], arrays: Feeds, feeds: Feeds) -> dict[str, Reference]:
    takes_nan = any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in feeds.values())
    unpacked = {}
    for info in outputs:
        expected = arrays[f"float64/{info.name}"].astype(np.float64)
        error = np.abs(arrays[f"float32/{info.name}"].astype(np.float64) - expected)
        own = float(np.nan_to_num(error, posinf=np.inf).max(initial=0.0))
        unpacked[info.name] = Reference(expected, np.dtype(info.dtype), own, takes_nan)
    return unpacked


def _pooled(kinds: Sequence[Values], calls: list[dict[str, Reference]]) -> list[dict[str, Reference]]:
    """Give every call the own error that PyTorch's float32 makes at worst in any like it, relative to the output.

    One call's error is one draw of a rounding noise that varies by a factor of three from call to call, so a bound that
    is four times it would condemn correct runtimes.
    """
    worst: dict[tuple[str, str], float] = {}
    for kind, call in zip(kinds, calls, strict=True):
        for name, reference in call.items():
            key = kind, name
            worst[key] = max(worst.get(key, 0.0), reference.float32_error / size_of(reference.expected))
    return [
        {name: replace(ref, float32_error=worst[kind, name] * size_of(ref.expected)) for name, ref in call.items()}
        for kind, call in zip(kinds, calls, strict=True)
    ]


def reference_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: the source model in both precisions; outputs are named `float64/NAME` and `float32/NAME`."""
    engine = get_engine("torch")
    path = Path(arguments["description"])
    sessions = {"float64": engine.load(path, _FLOAT64), "float32": engine.load(path, _FLOAT32)}
    for feeds in cases:
        outputs = {
            f"{precision}/{name}": array
            for precision, session in sessions.items()
            for name, array in session.run(feeds).items()
        }
        yield outputs, {}
