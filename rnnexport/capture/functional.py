"""Writes operators of a trace that change a tensor in place as ones that give a new tensor.

1. Only whole tensors that the trace computed: `h.mul_(mask)`, `F.relu(x, inplace=True)`, `scores.data.masked_fill_(…)`.
   Writes into a part of a tensor stay: a loop's outputs are made that way.
2. What reads the tensor afterwards reads the new one. Other views of the old one are not followed; whoever uses the
   trace compares it with the module.
"""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten
_SAME_TENSOR = {aten.alias.default, aten.detach.default, aten.detach_.default, aten.lift_fresh_copy.default}


def without_in_place(graph: fx.Graph) -> None:
    """Replace the operators, in place."""
    for node in list(graph.nodes):
        functional = _functional(node)
        if functional is None:
            continue
        changed = {node, *_aliases(node.args[0])}
        with graph.inserting_after(node):
            new = graph.call_function(functional, node.args, node.kwargs)
        new.meta = node.meta
        later, before = set(), True
        for other in graph.nodes:
            if not before:
                later.add(other)
            before = before and other is not new
        for old in changed:
            old.replace_all_uses_with(new, delete_user_cb=later.__contains__)
        graph.erase_node(node)


def _functional(node: fx.Node) -> torch._ops.OpOverload | None:
    """The operator that computes what `node` writes into a tensor of the trace."""
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
        return None
    _, _, name = target._schema.name.partition("::")
    base = node.args[0] if node.args else None
    if not name.endswith("_") or name == "copy_" or not isinstance(base, fx.Node):
        return None
    root = _root(base)
    if root.op != "call_function" or any(r.alias_info is not None for r in _returns(root)):
        return None
    found = getattr(getattr(aten, name[:-1], None), target._overloadname, None)
    return found if isinstance(found, torch._ops.OpOverload) else None


def _returns(node: fx.Node) -> list[torch._C.Argument]:
    schema = getattr(node.target, "_schema", None)
    return list(schema.returns) if schema is not None else []


def _root(node: fx.Node) -> fx.Node:
    while node.target in _SAME_TENSOR and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _aliases(node: fx.Node) -> set[fx.Node]:
    """Every node that is the same tensor."""
    found, waiting = set(), [_root(node)]
    while waiting:
        known = waiting.pop()
        found.add(known)
        waiting += [user for user in known.users if user.target in _SAME_TENSOR and user not in found]
    return found
