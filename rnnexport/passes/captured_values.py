"""Hands to a Scan, as a state that no step changes, what its body reads of the graph around it.

ONNX lets a body read any value of the graphs around it. OpenVINO's reader counts what is no constant among the Scan's
own inputs, of which there are then too few, and does not load the file (src/frontends/onnx/frontend/src/op/scan.cpp).
"""

from __future__ import annotations

import onnx_ir as ir


class CapturedValues(ir.passes.InPlacePass):
    """Gives every Scan whose body reads values from outside, other than constants, a state for each of them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change the Scans of a model."""
        scans = [node for node in model.graph if node.op_type == "Scan" and node.domain == ""]
        changed = [_with_states(model.graph, node) for node in scans]
        return ir.passes.PassResult(model, modified=any(changed))


def _with_states(graph: ir.Graph, scan: ir.Node) -> bool:
    body = scan.attributes["body"].as_graph()
    captured = _captured(body)
    if not captured:
        return False
    states = len(body.inputs) - scan.attributes["num_scan_inputs"].as_int()
    for place, value in enumerate(captured, states):
        inside, unchanged = _like(value, f"{value.name}.inside"), _like(value, f"{value.name}.unchanged")
        for node in body:
            for index, read in enumerate(node.inputs):
                if read is value:
                    node.replace_input_with(index, inside)
        body.append(ir.node("Identity", [inside], outputs=[unchanged]))
        body.inputs.insert(place, inside)
        body.outputs.insert(place, unchanged)
    inputs, outputs = list(scan.inputs), list(scan.outputs)
    last = [_like(value, f"{value.name}.last") for value in captured]
    kept = [_like(value, value.name) for value in outputs]
    new = ir.Node(
        scan.domain,
        scan.op_type,
        [*inputs[:states], *captured, *inputs[states:]],
        scan.attributes.values(),
        outputs=[*kept[:states], *last, *kept[states:]],
        name=scan.name,
    )
    ir.convenience.replace_nodes_and_values(graph, scan, [scan], [new], outputs, kept)
    return True


def _like(value: ir.Value, name: str | None) -> ir.Value:
    return ir.Value(name=name, shape=value.shape, type=value.type)


def _captured(body: ir.Graph) -> list[ir.Value]:
    """What the nodes of a body read that neither the body nor a constant holds, each once."""
    read = (value for node in body for value in node.inputs if value is not None)
    outside = (value for value in read if value.graph is not body and value.const_value is None)
    return list(dict.fromkeys(outside))
