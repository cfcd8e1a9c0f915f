"""Tables of what is in an ONNX file."""

from __future__ import annotations

from rich.table import Table

from rnnexport.inspecting.inspection import Inspection


def inspection_tables(path: str, inspection: Inspection) -> list[Table]:
    """Facts, inputs and outputs, and the recurrent layers."""
    return [_facts(path, inspection), _tensors(inspection), _layers(inspection)]


def _facts(path: str, inspection: Inspection) -> Table:
    table = Table(title=path, title_justify="left", show_header=False)
    facts = {
        "producer": inspection.producer,
        "operator sets": ", ".join(f"{domain} {version}" for domain, version in inspection.operator_sets.items()),
        "parameters": f"{inspection.parameters:,}",
        "multiply-adds of the recurrent layers, one step of one row": f"{inspection.multiply_adds_per_step:,}",
        "states": ", ".join(f"{before} → {after}" for before, after in inspection.state_pairs) or "-",
        "operators": ", ".join(f"{count} {name}" for name, count in list(inspection.operators.items())[:8]),
    }
    if any(cell.fusible for cell in inspection.decomposed_cells):
        facts["decomposed cells"] = f"can be operators again; run: rnnexport lint {path} --fix -o OUT"
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _tensors(inspection: Inspection) -> Table:
    table = Table("", "name", "type")
    for kind, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        for name, text in tensors.items():
            table.add_row(kind, name, text)
    return table


def _layers(inspection: Inspection) -> Table:
    table = Table("layer", "cell", "weights", "direction", "input", "hidden", "lengths", "initial state")
    for layer in inspection.layers:
        sizes = [str(layer.input_size or "?"), str(layer.hidden_size or "?")]
        lengths = layer.lengths or "-"
        stacked = layer.cell if layer.layers == 1 else f"{layer.cell} × {layer.layers}"
        table.add_row(layer.name, stacked, layer.weights, layer.direction, *sizes, lengths, layer.initial_state)
    for cell in inspection.decomposed_cells:
        how = "decomposed" if cell.steps == 1 else f"decomposed, {cell.steps} steps"
        table.add_row(cell.node, f"{cell.cell}, {how}", cell.weights, "-", "?", "?", "-", "-")
    return table
