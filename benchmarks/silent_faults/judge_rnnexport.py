"""What rnnexport says of a fault: `verify` on the bundle with the fault, `lint` on its file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import rnnexport
from benchmarks.silent_faults.faults import DRAWS, Fault, find
from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.store import seal
from rnnexport.errors import ExportError
from rnnexport.linting.lint import lint
from rnnexport.parity.results import RuntimeParity
from rnnexport.parity.verify import verify
from rnnexport.versions import machine


def prepare(fault: Fault, folder: Path) -> Bundle:
    """The module as a bundle at `folder`, then the wrong file in place of the right one; or the file as a bundle."""
    module = fault.module()
    if fault.from_file:
        path = folder.with_suffix(".onnx")
        fault.write(module, fault, path)
        return rnnexport.export(path, folder)
    bundle = rnnexport.export(module, folder, inputs=fault.inputs, output_names=fault.outputs, lengths=fault.lengths)
    fault.write(module, fault, bundle.model_path)
    seal(folder, bundle.manifest)
    return bundle


def runtime_of(fault: Fault, folder: Path) -> str | Path:
    """The definition's name, or the path of one for an engine of the plugins."""
    if fault.runtime in ("ort-cpu", "openvino-cpu"):
        return fault.runtime
    path = folder.with_suffix(".toml")
    path.write_text(f'engine = "{fault.runtime}"\nprecision = "float32"\n', encoding="utf-8")
    return path


def names(parity: RuntimeParity) -> list[str]:
    """What a failed runtime's fault is called."""
    causes = [cause.name for cause in parity.diagnosis.causes] if parity.diagnosis else []
    deaths = {case.failure_kind for case in parity.cases if case.failure_kind not in (None, "error")}
    return causes + sorted(map(str, deaths))


def refused(fault: Fault, folder: Path, why: str) -> dict[str, object]:
    """What of a module that is not exported; the file of another exporter is for the other tools, and for lint."""
    folder.mkdir()
    fault.write(fault.module(), fault, folder / "model.onnx")
    rules = sorted({found.rule for found in lint(folder / "model.onnx").findings if found.severity != "note"})
    known = [cause for cause in fault.causes if cause in why or cause in rules]
    said = [f"export: {DRAWS}" if DRAWS in why else "export: refused"] + ["lint: " + ", ".join(rules)] * bool(rules)
    return {"verdict": "caught", "named": bool(known), "says": "; ".join(said)}


def judge(fault: Fault, folder: Path) -> dict[str, object]:
    """Make the fault, and look for it."""
    if fault.needs_bfloat16 and "bf16" not in machine()["features"]:
        return {"verdict": "n/a", "says": "this CPU has no bfloat16"}
    try:
        bundle = prepare(fault, folder)
    except ExportError as exc:
        return refused(fault, folder, str(exc))
    (parity,) = verify(bundle.path, [runtime_of(fault, folder)]).runtimes
    rules = sorted({found.rule for found in lint(bundle.model_path).findings if found.severity != "note"})
    by_verify = [] if parity.passed else names(parity)
    caught = not parity.passed or bool(rules)
    said = ["verify: " + (" or ".join(by_verify) or "no cause")] if not parity.passed else []
    said += ["lint: " + ", ".join(rules)] if rules else []
    return {
        "verdict": "caught" if caught else "passed",
        "named": bool(set(fault.causes) & {*by_verify, *rules}),
        "says": "; ".join(said),
    }


if __name__ == "__main__":
    print(json.dumps(judge(find(sys.argv[1]), Path(sys.argv[2]))))
