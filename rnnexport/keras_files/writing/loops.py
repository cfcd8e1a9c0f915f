"""A recurrent layer as a Scan over written-out cells, for activations that no fused operator has in every runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from rnnexport.keras_files.layers.recurrent import Cell, Recurrent
from rnnexport.keras_files.writing.activations import activated
from rnnexport.keras_files.writing.nodes import Nodes


def write_loop(
    nodes: Nodes, layer: Recurrent, x: ir.Value, states: Sequence[ir.Value], counts: ir.Value | None
) -> tuple[ir.Value, list[ir.Value]]:
    """Write all cells of a layer over x [T, B, I].

    Args:
        nodes: Of the graph.
        layer: The layer.
        x: Its input.
        states: Its first states [B, H]; none are zeros.
        counts: [T, B]: which steps count.

    Returns:
        The outputs [T, B, H] in the order of time, and the last states.
    """
    before = [*states] or [
        _zeros(nodes.called(f"state_{n}"), x, cell.units)
        for n, cell in enumerate(cell for cell in layer.cells for _ in range(cell.states))
    ]
    output_size = layer.cells[-1].units
    if counts is not None:
        before.append(_zeros(nodes.called("output"), x, output_size))
    scanned = [_projected(nodes, layer.cells[0], x)]
    if counts is not None:
        scanned.append(nodes.unsqueeze(counts, 2))
    sizes = [cell.units for cell in layer.cells for _ in range(cell.states)] + [output_size] * (counts is not None)
    body = _body(nodes, layer, sizes, masked=counts is not None)
    backward = int(layer.go_backwards)
    attributes = [
        ir.AttrGraph("body", body),
        ir.AttrInt64("num_scan_inputs", len(scanned)),
        ir.AttrInt64s("scan_input_directions", [backward] * len(scanned)),
        ir.AttrInt64s("scan_output_directions", [backward]),
    ]
    names = [f"{nodes.name}.state_{n}_n" for n in range(len(before))]
    *last, sequence = nodes.writer.node("Scan", [*before, *scanned], [*names, f"{nodes.name}.Y"], attributes)
    return sequence, last[: layer.states]


def _zeros(nodes: Nodes, x: ir.Value, units: int) -> ir.Value:
    """[B, units]."""
    shape = nodes.op("Concat", nodes.size(x, 1), nodes.whole([units], "units"), axis=0)
    return nodes.op("Expand", nodes.floats(0.0, "zero"), shape)


def _projected(nodes: Nodes, cell: Cell, x: ir.Value) -> ir.Value:
    """X · kernel + bias, [T, B, G·H], for all steps at once."""
    product = nodes.op("MatMul", x, nodes.weight(cell.kernel))
    bias = _input_bias(cell)
    return product if bias is None else nodes.op("Add", product, nodes.floats(bias, "input_bias"))


def _input_bias(cell: Cell) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]] | None:
    if cell.bias is None:
        return None
    return cell.bias.value[0] if cell.reset_after else cell.bias.value


def _body(nodes: Nodes, layer: Recurrent, sizes: Sequence[int], *, masked: bool) -> ir.Graph:
    """One step of all cells."""
    imports = {"": nodes.writer.opset_version}
    body = ir.Graph([], [], nodes=[], opset_imports=imports, name=f"{nodes.name}.step")
    writer = nodes.writer.inside(body)
    inner = Nodes(writer, f"{nodes.name}.step")

    def given(name: str, columns: int, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        value = ir.Value(
            name=writer.fresh_name(f"{inner.name}.{name}"),
            shape=ir.Shape([None, columns]),
            type=ir.TensorType(dtype),
        )
        body.inputs.append(value)
        return value

    before = [given(f"before_{n}", size) for n, size in enumerate(sizes)]
    x = given("x", layer.cells[0].kernel.shape[1])
    counts = given("counts", 1, ir.DataType.BOOL) if masked else None
    after: list[ir.Value] = []
    for number, cell in enumerate(layer.cells):
        own = inner.called(f"cell_{number}")
        projected = x if number == 0 else _projected(own, cell, x)
        new = _STEPS[cell.kind](own, cell, projected, *before[len(after) : len(after) + cell.states])
        after += new
        x = new[0]
    output = x
    if counts is not None:
        states = [inner.op("Where", counts, new, old) for new, old in zip(after, before, strict=False)]
        otherwise = inner.floats(0.0, "zero") if layer.zero_output_for_mask else before[-1]
        output = inner.op("Where", counts, output, otherwise)
        after = [*states, output]
    results = [*after, inner.op("Identity", output)]
    for value, size in zip(results, [*sizes, sizes[-1]], strict=True):
        value.shape, value.type = ir.Shape([None, size]), ir.TensorType(ir.DataType.FLOAT)
        body.outputs.append(value)
    return body


def _gates(nodes: Nodes, x: ir.Value, cell: Cell, count: int) -> Sequence[ir.Value]:
    """[B, count·H] as `count` parts."""
    return nodes.writer.split(x, [cell.units] * count, 1, [f"{nodes.name}.gate_{n}" for n in range(count)])


def _lstm(nodes: Nodes, cell: Cell, x: ir.Value, h: ir.Value, c: ir.Value) -> list[ir.Value]:
    z = nodes.op("Add", x, nodes.op("MatMul", h, nodes.weight(cell.recurrent_kernel)))
    z_i, z_f, z_c, z_o = _gates(nodes, z, cell, 4)
    i, f, o = (activated(nodes, cell.recurrent_activation, gate) for gate in (z_i, z_f, z_o))
    added = nodes.op("Mul", i, activated(nodes, cell.activation, z_c))
    c = nodes.op("Add", nodes.op("Mul", f, c), added)
    return [nodes.op("Mul", o, activated(nodes, cell.activation, c)), c]


def _gru(nodes: Nodes, cell: Cell, x: ir.Value, h: ir.Value) -> list[ir.Value]:
    kernel, units = cell.recurrent_kernel.value, cell.units
    bias = cell.bias.value[1] if cell.bias is not None and cell.reset_after else np.zeros(3 * units)

    def product(of: ir.Value, name: str, columns: slice) -> ir.Value:
        y = nodes.op("MatMul", of, nodes.floats(kernel[:, columns], f"recurrent_kernel_{name}"))
        return nodes.op("Add", y, nodes.floats(bias[columns], f"recurrent_bias_{name}")) if bias.any() else y

    x_z, x_r, x_h = _gates(nodes, x, cell, 3)
    h_z, h_r = _gates(nodes, product(h, "zr", slice(0, 2 * units)), cell, 2)
    z, r = (activated(nodes, cell.recurrent_activation, nodes.op("Add", *pair)) for pair in ((x_z, h_z), (x_r, h_r)))
    last = slice(2 * units, None)
    inner = nodes.op("Mul", r, product(h, "h", last)) if cell.reset_after else product(nodes.op("Mul", r, h), "h", last)
    candidate = activated(nodes, cell.activation, nodes.op("Add", x_h, inner))
    kept = nodes.op("Mul", z, h)
    return [nodes.op("Add", kept, nodes.op("Mul", nodes.op("Sub", nodes.floats(1.0, "one"), z), candidate))]


def _simple(nodes: Nodes, cell: Cell, x: ir.Value, h: ir.Value) -> list[ir.Value]:
    z = nodes.op("Add", x, nodes.op("MatMul", h, nodes.weight(cell.recurrent_kernel)))
    return [activated(nodes, cell.activation, z)]


_STEPS: dict[str, Callable[..., list[ir.Value]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _simple}
