"""What OpenVINO's performance counters say of the last call.

OpenVINO gives a recurrent operator a name of its own (`LSTMSequence_61`), splits a bidirectional one in two, and leaves
the name that the ONNX file has for the output on what changes the layout afterwards. So each node goes also by the
names of the changes of layout that follow it in the graph that is executed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Any

from rnnexport.engines.contract import NodeTime

_LAYOUT = {"Concatenation", "Reorder", "Reshape", "Transpose"}
_RECURRENT = {"LSTMSequence": "LSTM", "GRUSequence": "GRU", "RNNSequence": "RNN"}  # the ONNX operator of each


def node_times(request: Any, calls: int) -> list[NodeTime]:
    """Repeat a call that went well before, and give the time of each node that takes any."""
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(calls):
        request.infer()
        for node in request.profiling_info:
            durations[node.node_name, node.node_type].append(1e9 * node.real_time.total_seconds())
    executed = {op.get_friendly_name(): op for op in request.get_compiled_model().get_runtime_model().get_ordered_ops()}
    return [
        NodeTime.typical(_names(name, executed), _RECURRENT.get(kind, kind), nanoseconds, calls)
        for (name, kind), nanoseconds in durations.items()
        if median(nanoseconds)  # counted in microseconds
    ]


def _names(name: str, executed: dict[str, Any]) -> tuple[str, ...]:
    if name not in executed:
        return (name,)
    return tuple(dict.fromkeys([name, *_original_names(executed[name]), *_names_after(executed[name])]))


def _names_after(node: Any) -> Iterator[str]:
    """Names of the changes of layout that follow a node, the nearest first."""
    level = [node]
    while level:
        users = [port.get_node() for each in level for output in each.outputs() for port in output.get_target_inputs()]
        level = [user for user in users if _text(user, "layerType") in _LAYOUT]
        for user in level:
            yield from (user.get_friendly_name(), *_original_names(user))


def _original_names(node: Any) -> list[str]:
    """Names of the operators that were fused into a node."""
    return [name for name in _text(node, "originalLayersNames").split(",") if name]


def _text(node: Any, key: str) -> str:
    information = node.get_rt_info()
    return str(information[key].astype(str)) if key in information else ""
