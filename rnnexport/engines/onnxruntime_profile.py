"""What ONNX Runtime's profiler writes: a JSON list of events, times in whole microseconds."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from rnnexport.engines.contract import NodeTime

_HOLDS_OTHERS = {"If", "Loop", "Scan"}  # their events last as long as those of the nodes inside them together
_SUFFIX = "_kernel_time"


def node_times(path: Path, calls: int) -> list[NodeTime]:
    """Read the last `calls` runs of a profile; a node without a name goes by its operator and number."""
    events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    start = [event["ts"] for event in events if event["name"] == "model_run"][-calls]
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["ts"] >= start and event["name"].endswith(_SUFFIX):
            durations[event["name"].removesuffix(_SUFFIX), event["args"]["op_name"]].append(1e3 * event["dur"])
    return [
        NodeTime.typical((name,), operator, nanoseconds, calls)
        for (name, operator), nanoseconds in durations.items()
        if operator not in _HOLDS_OTHERS
    ]
