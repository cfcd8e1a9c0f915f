"""Writes the table of docs/results/silent-faults.md: who catches which fault, and who says what it is.

    python -m benchmarks.silent_faults.write_table

Every tool judges every fault in a process of its own. `nox -s silent_faults` runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.silent_faults.faults import CONTROLS, FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins" / "careless_engines"
DOCUMENT = ROOT / "docs/results/silent-faults.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
TOOLS = {"polygraphy": "Polygraphy", "torch": "torch.onnx verify", "optimum": "Optimum"}
PACKAGES = ["torch", "onnx", "onnxruntime", "openvino", "onnxscript", "polygraphy", "optimum-onnx", "transformers"]
Verdict = dict[str, Any]


def run(tool: str, fault: Fault, bundle: Path) -> Verdict:
    """One tool on one fault; a tool that writes no verdict has failed, and so does this script."""
    command = [sys.executable, "-m", f"benchmarks.silent_faults.judge_{tool}", fault.name, str(bundle)]
    environment = os.environ | {"PYTHONPATH": str(PLUGINS)}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=600, check=True, env=environment, cwd=ROOT
    )
    verdict: Verdict = json.loads(done.stdout.splitlines()[-1])
    return verdict


def judge(fault: Fault, bundle: Path) -> dict[str, Verdict]:
    """Everyone on one fault; the other tools drive ONNX Runtime only."""
    verdicts = {"rnnexport": run("rnnexport", fault, bundle)}
    for tool in TOOLS:
        verdicts[tool] = {"verdict": "n/a¹", "says": ""} if fault.in_runtime else run(tool, fault, bundle)
        if fault.in_8_bits:
            verdicts[tool]["verdict"] += "³"
    return verdicts


def shown(verdict: Verdict) -> str:
    """One cell of the table."""
    said = str(verdict["verdict"])
    return {"n/a": "n/a²", "passed": "**missed**", "passed³": "**missed**"}.get(said, said)


def row(fault: Fault, verdicts: dict[str, Verdict]) -> str:
    """One row of the table."""
    ours = verdicts["rnnexport"]
    named = {True: "yes", False: "**no**"}[ours["named"]] if "named" in ours else "-"
    cells = ["real" if fault.real else "planted", shown(ours) if "named" in ours else "skipped", named, ours["says"]]
    return f"| {fault.name} | {' | '.join(cells + [shown(verdicts[tool]) for tool in TOOLS])} |"


def counts(rows: dict[str, dict[str, Verdict]]) -> str:
    """The last row: how many were caught, of how many that the tool could be given."""
    judged = {tool: [v[tool]["verdict"] for v in rows.values()] for tool in ("rnnexport", *TOOLS)}
    caught = {
        tool: f"{verdicts.count('caught')} of {sum(v in ('caught', 'passed') for v in verdicts)}"
        for tool, verdicts in judged.items()
    }
    named = [v["rnnexport"]["named"] for v in rows.values() if "named" in v["rnnexport"]]
    cells = ["", caught["rnnexport"], f"{sum(named)} of {len(named)}", "", *(caught[tool] for tool in TOOLS)]
    return f"| **{len(rows)} faults** | {' | '.join(cells)} |"


def table(rows: dict[str, dict[str, Verdict]], controls: dict[str, dict[str, Verdict]]) -> str:
    """Both tables as Markdown, and the versions."""
    lines = [f"| fault | | rnnexport | named | as | {' | '.join(TOOLS.values())} |", f"|{'---|' * (5 + len(TOOLS))}"]
    lines += [row(fault, rows[fault.name]) for fault in FAULTS] + [counts(rows)]
    lines += ["", f"| nothing is wrong | rnnexport | {' | '.join(TOOLS.values())} |", f"|{'---|' * (2 + len(TOOLS))}"]
    for name, verdicts in controls.items():
        words = [{"passed": "passed"}.get(v["verdict"], "**false alarm**") for v in verdicts.values()]
        lines.append(f"| {name.removeprefix('control: ')} | {' | '.join(words)} |")
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return "\n".join([*lines, "", f"Versions: {versions}."]) + "\n"


def main() -> None:
    """Judge all faults and controls, and write the document."""
    judged = {}
    everything = FAULTS + CONTROLS
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        bundles = [Path(folder, str(number)) for number in range(len(everything))]
        for fault, verdicts in zip(everything, pool.map(judge, everything, bundles), strict=True):
            judged[fault.name] = verdicts
            print(json.dumps({fault.name: verdicts}), flush=True)
    rows = {fault.name: judged[fault.name] for fault in FAULTS}
    controls = {fault.name: judged[fault.name] for fault in CONTROLS}
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text(before + BEGIN + table(rows, controls) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
