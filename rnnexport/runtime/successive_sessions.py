"""Sessions one after another in one process: of one file, or of copies of it whose shapes are fixed.

A process takes longer to start than a small model takes to load. What must not find anything that another session left
behind is not for this module but for `worker.infer`, which starts a process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.runtime.worker import Arrays, CaseResult, Extras, by_name, run_job

_INPUT = "input/"


@dataclass(frozen=True, slots=True)
class SessionCall:
    """A call, and the session that it is made on."""

    feeds: Feeds
    definition: Definition
    static: bool = False
    """Whether the session is of this call alone, and the graph's dimensions are fixed to the sizes of the feeds."""


def infer_successively(
    model: Path, calls: Sequence[SessionCall], *, time_limit_seconds: float, memory_limit_bytes: int | None
) -> Iterator[CaseResult]:
    """Make calls in one process; those that follow each other with one definition, not static, share a session.

    A call that fails gives a result with `failure`, and the next one a new process and session.
    """
    definitions: list[Definition] = []  # a set would want hashes
    for call in calls:
        if call.definition not in definitions:
            definitions.append(call.definition)
    cases = [
        {"definition": np.array(definitions.index(call.definition)), "static": np.array(call.static)}
        | {f"{_INPUT}{name}": array for name, array in call.feeds.items()}
        for call in calls
    ]
    return run_job(
        "rnnexport.runtime.successive_sessions:successive_job",
        {"model": str(model), "definitions": [definition.model_dump() for definition in definitions]},
        cases,
        time_limit_seconds=time_limit_seconds,
        memory_limit_bytes=memory_limit_bytes,
    )


def successive_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: load what a call needs where the last one had another session."""
    model, definitions = Path(arguments["model"]), [Definition(**each) for each in arguments["definitions"]]
    session: Session | None = None
    loaded: int | None = None
    for case in cases:
        feeds = {name.removeprefix(_INPUT): array for name, array in case.items() if name.startswith(_INPUT)}
        number, static = int(case["definition"]), bool(case["static"])
        if session is None or static or loaded != number:
            if session is not None:
                session.close()
            session = _load_static(model, definitions[number], feeds) if static else _load(model, definitions[number])
            loaded = None if static else number
        yield by_name(session.run(feeds)), {}


def _load(model: Path, definition: Definition) -> Session:
    return get_engine(definition.engine).load(model, definition)


def _load_static(model: Path, definition: Definition, feeds: Feeds) -> Session:
    with tempfile.TemporaryDirectory(prefix="rnnexport-") as folder:
        path = Path(folder) / "model.onnx"
        _write_static(model, path, feeds)
        return _load(path, definition)


def _write_static(source: Path, target: Path, feeds: Feeds) -> None:
    """Copy a graph with its inputs' dimensions fixed to those of `feeds`; what is known of other shapes is dropped."""
    import onnx

    model = onnx.load(source)
    for value in model.graph.input:
        if value.name in feeds:
            for dimension, size in zip(value.type.tensor_type.shape.dim, feeds[value.name].shape, strict=True):
                dimension.dim_value = size
    for value in model.graph.output:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param"):
                dimension.Clear()
    del model.graph.value_info[:]
    onnx.save(model, target)
