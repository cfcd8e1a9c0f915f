"""What Polygraphy says of a file: `polygraphy run --onnxrt` on the example, held against the module's answers.

As in Polygraphy's own example "Comparing With Custom Output Data", with its default tolerances.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from polygraphy.comparator import RunResults
from polygraphy.json import save_json

from benchmarks.silent_faults.faults import Fault, find


def judge(fault: Fault, bundle: Path) -> dict[str, object]:
    """Run the tool; its exit status is its verdict."""
    inputs, outputs = (bundle.with_name(f"{bundle.name}-{kind}.json") for kind in ("inputs", "outputs"))
    save_json([fault.example()], str(inputs))
    results = RunResults()
    results.add([fault.answers()], runner_name="pytorch")
    results.save(str(outputs))
    arguments = ["--onnxrt", "--load-inputs", str(inputs), "--load-outputs", str(outputs)]
    command = [str(Path(sys.executable).with_name("polygraphy")), "run", str(bundle / "model.onnx"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("[E]", "[!]"))]
    return {"verdict": "caught" if done.returncode else "passed", "says": " ".join(said)[:300]}


if __name__ == "__main__":
    print(json.dumps(judge(find(sys.argv[1]), Path(sys.argv[2]))))
