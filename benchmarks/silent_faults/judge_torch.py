"""What PyTorch says of a file: `torch.onnx.verification.verify_onnx_program`, by the limits of `export(verify=True)`.

The program is what `torch.onnx.export` makes of the module, with the file as its graph.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from pathlib import Path

import onnx_ir
import torch
from torch.onnx.verification import verify_onnx_program

from benchmarks.silent_faults.faults import Fault, dynamic_shapes, find

LARGEST_ABSOLUTE, LARGEST_RELATIVE = 5e-3, 1e-1
"""Where `verify=True` warns; the function itself returns figures and no verdict."""


def judge(fault: Fault, bundle: Path) -> dict[str, object]:
    """Export, put the file in place, verify on the example."""
    shapes = dynamic_shapes(fault)
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(fault.module(), fault.tensors(), dynamo=True, dynamic_shapes=shapes)
        except torch.onnx.OnnxExporterError:
            return {"verdict": "n/a", "says": "torch.onnx.export does not take the module"}
        assert program is not None
        program.model = onnx_ir.load(bundle / "model.onnx")
        try:
            found = verify_onnx_program(program, fault.tensors())
        except Exception as exc:
            return {"verdict": "caught", "says": f"{type(exc).__name__}: {exc}"[:300]}
    wrong = [f for f in found if f.max_abs_diff >= LARGEST_ABSOLUTE or f.max_rel_diff >= LARGEST_RELATIVE]
    return {"verdict": "caught" if wrong else "passed", "says": f"{max(f.max_abs_diff for f in found):.1e}"}


if __name__ == "__main__":
    print(json.dumps(judge(find(sys.argv[1]), Path(sys.argv[2]))))
