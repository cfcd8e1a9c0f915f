"""`rnnexport optimize`: recurrent layers written in another form, with the price in size and error."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnnexport.engines.contract import Feeds
from rnnexport.errors import ExportError, InputError
from rnnexport.exporting.onnx_source import drawn_cases, named_inputs, sample_cases
from rnnexport.files.destinations import check_new_file, is_same_file
from rnnexport.onnx_files.reading import external_files, read_model
from rnnexport.optimizing.differences import Difference, compare
from rnnexport.optimizing.options import Rewrite
from rnnexport.optimizing.rewrite import LayerOutcome, apply
from rnnexport.parity.grid import inputs_of
from rnnexport.results.result import Result

if TYPE_CHECKING:
    import onnx_ir

    from rnnexport.passes.lowering import CalibrationStatistics

LARGEST_FLOAT32_DIFFERENCE = 1e-4
"""Relative; far above float32's rounding, far below what a fault does."""


class OptimizeReport(Result):
    """What `rnnexport optimize` did to one file."""

    schema_version: Literal[1] = 1
    path: str
    out: str
    bytes_before: int
    bytes_after: int
    layers: list[LayerOutcome]
    inputs: str
    """Where the inputs come from with which the files were compared."""
    differences: list[Difference]

    def records(self) -> list[dict[str, Any]]:
        """A row for each runtime in which the files were compared."""
        return [difference.model_dump() for difference in self.differences]


def optimize(
    path: str | Path,
    out: str | Path,
    rewrite: Rewrite,
    *,
    calibration: str | Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> OptimizeReport:
    """Write a copy of an ONNX file whose LSTM and GRU nodes have another form.

    Args:
        path: The file; it is not changed.
        out: Where the copy goes.
        rewrite: What to do.
        calibration: A npz with one array for each input of the model: real inputs. Weights are then rounded so that
            the products change least on them, and the two files are compared on them instead of on drawn inputs, if
            the number of time steps is not to be fixed.
        on_progress: Told what is going on.

    Raises:
        InputError: The choices do not go together or fit no layer of the file, the file or the sample cannot be read,
            or the copy does not give what it should.
    """
    path, out = Path(path), Path(out)
    rewrite.check()
    if is_same_file(out, path):
        raise InputError(f"{path} is never changed; give the rewritten file another name")
    check_new_file(out, "out")
    if calibration is not None and not rewrite.calibrates:
        raise InputError("`calibration` is for int8 and int4 weights with `lowering=scan` or unrolled")
    on_progress("rewriting")
    model = read_model(path)
    calls = _calibration_calls(Path(calibration), model) if calibration is not None else []

    def find_statistics(prepared: onnx_ir.Model) -> Mapping[str, CalibrationStatistics]:
        from rnnexport.optimizing.calibration import layer_statistics

        return layer_statistics(prepared, calls) if calls else {}

    try:
        layers = apply(rewrite, model, find_statistics)
    except (InputError, ExportError) as exc:
        raise InputError(f"{path}: {exc}") from exc
    on_sample = bool(calls) and rewrite.time_steps is None
    drawn = [] if on_sample else [case for case in drawn_cases(model) if case.values == "normal"]
    compared = calls if on_sample else [case.feeds for case in drawn]
    bytes_after, differences = _write(model, path, out, rewrite, compared, on_progress)
    return OptimizeReport(
        path=str(path),
        out=str(out),
        bytes_before=_size(path),
        bytes_after=bytes_after,
        layers=layers,
        inputs=str(calibration) if on_sample else inputs_of(named_inputs(model), [], drawn),
        differences=differences,
    )


def _calibration_calls(path: Path, model: onnx_ir.Model) -> list[Feeds]:
    from rnnexport.optimizing.calibration import check_finite

    calls = [sample_cases(path, model)[0].feeds]
    check_finite(path, calls)
    return calls


def _write(
    model: onnx_ir.Model,
    path: Path,
    out: Path,
    rewrite: Rewrite,
    calls: list[Feeds],
    on_progress: Callable[[str], None],
) -> tuple[int, list[Difference]]:
    """Write the copy beside `out`, compare, and only then put it in place; return its size and the differences."""
    import onnx_ir

    external = f"{out.name}.data" if external_files(path) else None
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        copy = Path(folder) / out.name
        onnx_ir.save(model, copy, external_data=external)
        on_progress("running both files")
        differences = compare(path, copy, calls)
        _check(rewrite, path, differences)
        size = _size(copy)
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == copy):
            file.replace(out.parent / file.name)
    return size, differences


def _check(rewrite: Rewrite, path: Path, differences: list[Difference]) -> None:
    """Refuse a copy that does not run, that gives NaN, or that is float32 and not the same function.

    OpenVINO is not asked: it ignores the lengths of the original where they are its `sequence_lens`.
    """
    in_ort = differences[0]
    if in_ort.failure is not None and in_ort.failure.startswith("the rewritten"):
        raise InputError(f"{path} is not rewritten: in {in_ort.runtime} {in_ort.failure}")
    limit = LARGEST_FLOAT32_DIFFERENCE if rewrite.weights == "float32" and not rewrite.weight_only_int8 else 1e30
    if in_ort.relative is not None and in_ort.relative > limit:
        raise InputError(
            f"{path} is not rewritten: the rewritten file differs by {in_ort.relative:.2g} in {in_ort.runtime}"
        )


def _size(path: Path) -> int:
    return path.stat().st_size + sum((path.parent / name).stat().st_size for name in external_files(path))
