"""What `verify` leaves in the bundle: `parity.json`, and the raw outputs, to judge again without running again.

`parity_outputs.npz` holds for each call `RUNTIME/actual/NUMBER/OUTPUT` as it came, and in float64
`RUNTIME/expected/NUMBER/OUTPUT`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import Tolerance
from rnnexport.errors import InputError
from rnnexport.files.arrays import read_npz
from rnnexport.files.json_files import read_json
from rnnexport.files.regular_files import read_regular
from rnnexport.parity.compare import Comparison, Reference, compare
from rnnexport.parity.results import CaseVerdict, ParityReport, RuntimeParity

REPORT = "parity.json"
OUTPUTS = "parity_outputs.npz"


def write_evidence(bundle: Bundle, report: ParityReport, outputs: Mapping[str, NDArray[Any]]) -> None:
    """Write both files, each atomically; the report last, with the hash of the other.

    Raises:
        BundleError: Writing failed.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **outputs)
    content = buffer.getvalue()
    report.raw_outputs = hashlib.sha256(content).hexdigest()
    bundle.write_file(OUTPUTS, content)
    bundle.write_evidence(REPORT, report.model_dump(mode="json"))


def judge_again(path: Path, atol: float | None = None, rtol: float | None = None) -> ParityReport:
    """Judge the outputs that an earlier `verify` kept, with other tolerances; nothing is run.

    Args:
        path: A `parity.json`; its npz lies beside it.
        atol: Absolute tolerance; by default each runtime's own.
        rtol: Relative tolerance; by default each runtime's own.

    Raises:
        InputError: A file is missing, of another schema version or damaged, or the two do not belong together.
    """
    report = _read(path)
    outputs = _read_outputs(path.with_name(OUTPUTS), report)
    return report.model_copy(
        update={"runtimes": [_judge_runtime(runtime, outputs, atol, rtol) for runtime in report.runtimes]}
    )


def _read(path: Path) -> ParityReport:
    try:
        document = dict(read_json(path))
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{path} is no result of rnnexport verify; run: rnnexport verify {path.parent}") from exc
    expected = ParityReport.model_fields["schema_version"].default
    if version != expected:
        remedy = f"run: rnnexport verify {path.parent}"
        raise InputError(f"{path} is schema {version}, this version reads {expected}; {remedy}")
    document.pop("manifest_sha256", None)
    try:
        return ParityReport.model_validate(document)
    except ValidationError as exc:
        raise InputError(f"{path} is damaged; run: rnnexport verify {path.parent}") from exc


def _read_outputs(path: Path, report: ParityReport) -> dict[str, NDArray[Any]]:
    try:
        content = read_regular(path)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}; run: rnnexport verify {path.parent}") from exc
    if hashlib.sha256(content).hexdigest() != report.raw_outputs:
        raise InputError(f"{path} is not what its {REPORT} was written with; run: rnnexport verify {path.parent}")
    outputs = read_npz(path, content)
    if wrong := [name for name, array in outputs.items() if array.dtype.kind not in "biuf"]:
        raise InputError(f"{path}: {wrong[0]!r} holds {outputs[wrong[0]].dtype}, no numbers; run: rnnexport verify")
    return outputs


def _judge_runtime(
    runtime: RuntimeParity, outputs: Mapping[str, NDArray[Any]], atol: float | None, rtol: float | None
) -> RuntimeParity:
    tolerance = Tolerance(
        atol=runtime.tolerance.atol if atol is None else atol, rtol=runtime.tolerance.rtol if rtol is None else rtol
    )
    name = runtime.definition.name
    cases = [_judge_case(name, case, outputs, tolerance) for case in runtime.cases]
    passed = all(case.passed for case in cases)
    return runtime.model_copy(
        update={"tolerance": tolerance, "cases": cases, "diagnosis": None if passed else runtime.diagnosis}
    )


def _judge_case(
    runtime: str, case: CaseVerdict, outputs: Mapping[str, NDArray[Any]], tolerance: Tolerance
) -> CaseVerdict:
    def again(known: Comparison) -> Comparison:
        key = f"{case.number}/{known.output}"
        try:
            expected, actual = (outputs[f"{runtime}/{kind}/{key}"] for kind in ("expected", "actual"))
            reference = Reference(expected, np.dtype(known.dtype), known.float32_error)
        except (KeyError, TypeError) as exc:
            raise InputError(f"{OUTPUTS} and {REPORT} do not belong together: {exc}; run: rnnexport verify") from exc
        return compare(known.output, actual, reference, tolerance)

    return case.model_copy(update={"comparisons": [again(known) for known in case.comparisons]})
