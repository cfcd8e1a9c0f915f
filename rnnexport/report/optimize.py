"""Tables of what `rnnexport optimize` did."""

from __future__ import annotations

from rich.table import Table

from rnnexport.optimizing.optimize import OptimizeReport


def optimize_tables(report: OptimizeReport) -> list[Table]:
    """The layers, and what the rewritten file costs in error."""
    before, after = (f"{size:,} bytes" for size in (report.bytes_before, report.bytes_after))
    ratio = report.bytes_before / report.bytes_after
    layers = Table(
        "layer",
        "operator",
        "now",
        title=f"{report.out}: {after}, {ratio:.2f}× smaller than {before}",
        title_justify="left",
    )
    for layer in report.layers:
        layers.add_row(layer.name, layer.cell, layer.form or f"as it was: {layer.reason}")
    differences = Table(
        "runtime",
        "calls",
        "largest difference",
        "relative",
        title=f"the original against the rewritten file, on {report.inputs}",
        title_justify="left",
    )
    for row in report.differences:
        shown = [row.failure or "", "-"] if row.largest is None else [f"{row.largest:.2g}", f"{row.relative:.2g}"]
        differences.add_row(row.runtime, str(row.calls), *shown)
    return [layers, differences]
