"""Writes the table of docs/export.md: what becomes of every case, by rnnexport and by PyTorch's own exporters.

Every case runs in a process of its own, since PyTorch's exporters remember earlier exports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "export.md"
COLUMNS = {
    "rnnexport": ["ONNX Runtime", "OpenVINO", "OpenVINO, static"],
    "torch.onnx.export": ["ONNX Runtime", "OpenVINO"],
    "torch.onnx.export, dynamo=False": ["ONNX Runtime", "OpenVINO"],
}
NO_FILE = "no file"


def judge(name: str) -> dict[str, dict[str, str]]:
    """Export one case with every exporter, and run what came out."""
    import torch
    from export_cases import CASES
    from outcomes import outcome, specs
    from stock import EXPORTERS, stock_export

    import rnnexport

    case = next(case for case in CASES if case.name == name)
    results: dict[str, dict[str, str]] = {}
    for exporter, runtimes in COLUMNS.items():
        torch.manual_seed(0)
        module = case.make()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "b", "model.onnx")
            try:
                if exporter == "rnnexport":
                    rnnexport.export(module, path.parent, inputs=specs(case))
                else:
                    path.parent.mkdir()
                    stock_export(module, case, path, dynamo=EXPORTERS[exporter])
            except Exception:
                made = "refused" if exporter == "rnnexport" else NO_FILE
                results[exporter] = dict.fromkeys(runtimes, made)
                continue
            results[exporter] = {runtime: outcome(module, case, path, runtime) for runtime in runtimes}
    return results


def table(rows: dict[str, dict[str, dict[str, str]]]) -> str:
    """The table as Markdown, with the counts of each column below."""
    columns = [(exporter, runtime) for exporter, runtimes in COLUMNS.items() for runtime in runtimes]
    lines = [
        f"| case | {' | '.join(f'`{e}`<br>{r}' if '.' in e else f'{e}<br>{r}' for e, r in columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    lines += [f"| {name} | {' | '.join(row[e][r] for e, r in columns)} |" for name, row in rows.items()]
    counts = [Counter(row[e][r] for row in rows.values()) for e, r in columns]
    shown = ["<br>".join(f"{count} {word}" for word, count in sorted(counter.items())) for counter in counts]
    return "\n".join([*lines, f"| **{len(rows)} cases** | {' | '.join(shown)} |"]) + "\n"


def main() -> None:
    """Judge one case, named on the command line, or all of them, and write the document."""
    if len(sys.argv) > 1:
        print(json.dumps(judge(sys.argv[1])))
        return
    from export_cases import CASES

    rows = {}
    for case in CASES:
        command = [sys.executable, __file__, case.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=600)
        rows[case.name] = json.loads(done.stdout.splitlines()[-1])
        print(case.name, rows[case.name], flush=True)
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text(before + BEGIN + table(rows) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
