"""Tables of what `rnnexport optimize` did."""

from __future__ import annotations

from rich.table import Table

from rnnexport.optimizing.optimize import OptimizeReport


def optimize_tables(report: OptimizeReport) -> list[Table]:
    """Both files, the layers, and what the rewritten file costs in error."""
    files = Table("file", "bytes", "smaller by")
    files.add_row(report.path, f"{report.bytes_before:,}", "")
    files.add_row(report.out, f"{report.bytes_after:,}", f"{report.bytes_before / report.bytes_after:.2f}×")
    layers = Table("layer", "operator", "now")
    for layer in report.layers:
        layers.add_row(layer.name, layer.cell, layer.form or f"as it was: {layer.reason}")
    differences = Table("runtime", "calls", "largest difference", "relative", "the original's", "inputs")
    for row in report.differences:
        shown = [row.failure or "", "-"] if row.largest is None else [f"{row.largest:.2g}", f"{row.relative:.2g}"]
        original = "does not run" if row.original is None else f"{row.original:.2g}"
        differences.add_row(row.runtime, str(row.calls), *shown, original, report.inputs)
    return [files, layers, differences]
