"""Write the table of docs/results/deepbench.md from the output of `bench --shapes deepbench --roofline --json`.

python tools/write_deepbench_table.py deepbench.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from rnnexport.benchmark.results import BenchReport, Measurement
from rnnexport.report.numbers import duration
from rnnexport.versions import machine

PAGE = Path(__file__).parents[1] / "docs/results/deepbench.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
PEERS = {
    "PyTorch": ("torch", "torch-cpu"),
    "compiled": ("torch", "torch-compiled"),
    "stock, ORT": ("stock export", "ort-cpu"),
    "stock, OpenVINO": ("stock export", "openvino-cpu"),
    "ours, ORT": ("rnnexport", "ort-cpu"),
    "ours, OpenVINO": ("rnnexport", "openvino-cpu"),
}


def main() -> None:
    """Replace what stands between the markers."""
    report = BenchReport.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    assert report.analysis.roofline is not None, "run it with --roofline"
    limits = {(r.bundle, r.runtime, r.batch_size, r.time_steps): r for r in report.analysis.roofline.rows}
    shapes: dict[tuple[str, int, int], dict[tuple[str, str], Measurement]] = {}
    for row in report.measurements:
        model, source = row.bundle.split(", ")
        shapes.setdefault((model, row.batch_size, row.time_steps), {})[source, row.definition.name] = row
    lines = [f"| layer, batch × steps | {' | '.join(PEERS)} | held by | reached by the fastest |", "|---" * 9 + "|"]
    for (model, batch, steps), rows in shapes.items():
        cells = [_cell(rows.get(peer)) for peer in PEERS.values()]
        medians = {peer: row.median_ns for peer, row in rows.items() if row.median_ns is not None}
        source, runtime = min(medians, key=lambda peer: medians[peer])
        limit = limits[f"{model}, {source}", runtime, batch, steps]
        reached = f"{100 * (limit.share or 0):.0f} %"
        lines.append(f"| {model}, {batch} × {steps} | {' | '.join(cells)} | {limit.work_limit} | {reached} |")
    told = machine()
    lines += ["", f"{told['cpu']}, {told['cores']} cores, {told['features']}. " + _versions(report)]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


def _cell(row: Measurement | None) -> str:
    if row is None:
        return "-"
    return duration(row.median_ns) if row.median_ns is not None else "**no figure**"


def _versions(report: BenchReport) -> str:
    return ", ".join(f"{tool} {report.versions[tool]}" for tool in ("torch", "onnxruntime", "openvino"))


if __name__ == "__main__":
    main()
