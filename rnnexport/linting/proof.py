"""Proof of a repair: the original in float64 against the repaired file in each runtime, at calls of the parity grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import InputError
from rnnexport.exporting.onnx_source import drawn_cases, sample_cases
from rnnexport.linting.results import Proof
from rnnexport.onnx_files.reading import read_model
from rnnexport.parity.compare import largest_difference, size_of
from rnnexport.parity.onnx_float64 import Float64Model
from rnnexport.runtime.worker import infer

RUNTIMES = [
    Definition(name="ONNX Runtime", engine="onnxruntime", precision="float32", threads=1),
    Definition(name="OpenVINO", engine="openvino", precision="float32", threads=1),
    Definition(
        name="OpenVINO, static shapes",
        engine="openvino",
        precision="float32",
        threads=1,
        options={"static_shapes": True},
    ),
]


def prove(original: Path, repaired: Path, samples: Sequence[Path] = (), *, same_results: bool) -> list[Proof]:
    """Run both files in every runtime.

    Args:
        original: The file as it was.
        repaired: The repaired copy.
        samples: Files of real inputs, each a npz with one array for each input, in place of drawn ones.
        same_results: Whether the reference is the original in float64; else the repaired file is its own.

    Raises:
        InputError: The reference cannot be evaluated, or a sample does not fit.
    """
    model = read_model(original)
    calls = [call for sample in samples for call in sample_cases(sample, model)] or drawn_cases(model)
    cases = [call.feeds for call in calls]
    try:
        expected = _answers(original if same_results else repaired, cases)
    except InputError as exc:
        hint = "" if samples else "; give inputs that the model takes with `inputs=sample.npz`"
        raise InputError(f"{exc}{hint}") from exc
    return [
        Proof(
            runtime=definition.name,
            calls=len(cases),
            before=_largest_error(original, definition, cases, expected),
            after=_largest_error(repaired, definition, cases, expected),
        )
        for definition in RUNTIMES
    ]


def _answers(path: Path, cases: list[Feeds]) -> list[dict[str, Any]]:
    """What a file gives in float64; it may be large, and does not stay in memory."""
    reference = Float64Model(path)
    return [reference.run(feeds) for feeds in cases]


def _largest_error(
    path: Path, definition: Definition, cases: list[Feeds], expected: list[dict[str, Any]]
) -> float | None:
    worst = 0.0
    for result, outputs in zip(infer(path, definition, cases), expected, strict=True):
        if result.failure is not None:
            return None
        for name, array in outputs.items():
            worst = max(worst, largest_difference(result.outputs[name], array) / size_of(array))
    return worst
