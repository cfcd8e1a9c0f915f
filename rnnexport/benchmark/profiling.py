"""Where the time of a call goes: by node, from each library's own profiler, mapped to the model's recurrent layers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from pydantic import BaseModel

from rnnexport.benchmark.rows import Row
from rnnexport.bundle.bundle import load_bundle
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds, NodeTime, ProfilingEngine
from rnnexport.errors import EngineError
from rnnexport.inspecting.layers import layer_nodes
from rnnexport.onnx_files.nodes import node_name
from rnnexport.onnx_files.operators import RECURRENT
from rnnexport.parity.grid import CaseShape, draw_feeds
from rnnexport.parity.oracle import feeds_for
from rnnexport.runtime.worker import Arrays, Extras, run_job

PROFILED_CALLS = 20


class ProfiledNode(BaseModel):
    """A node of the library's graph."""

    name: str
    """What the library calls it."""
    operator: str
    layers: tuple[str, ...]
    """Recurrent layers of the model that it computes; empty for other nodes."""
    nanoseconds: float
    """Of one call. The profiler itself takes time, so this is for shares, not for latencies."""


class Profile(BaseModel):
    """Where the time of one row goes."""

    bundle: str
    runtime: str
    batch_size: int
    time_steps: int
    failure: str | None = None
    """Why there is no profile."""
    nodes: list[ProfiledNode] = []
    """The longest first."""

    @property
    def nanoseconds(self) -> float:
        """Of all nodes together."""
        return sum(node.nanoseconds for node in self.nodes)


def profile_of(row: Row, seed: int = 0) -> Profile:
    """Profile what a row has measured, in a worker. A runtime that cannot be profiled gives a reason."""
    bundle = load_bundle(Path(row.bundle))
    shape = CaseShape(row.batch_size, row.time_steps, from_series=True, mixed_lengths=False)
    feeds = draw_feeds(bundle.manifest.inputs, bundle.series, shape, np.random.default_rng(seed))
    model = ir.load(bundle.model_path)
    with tempfile.TemporaryDirectory(prefix="rnnexport-profile-") as folder:
        path = bundle.file_for(row.definition)
        if path == bundle.model_path:
            path = with_names(model, path, Path(folder))
        arguments = {"model": str(path), "definition": row.definition.model_dump()}
        cases = feeds_for(row.definition, [feeds])
        (result,) = run_job("rnnexport.benchmark.profiling:profile_job", arguments, cases)
    times = [NodeTime(**{**node, "names": tuple(node["names"])}) for node in result.extras.get("nodes", ())]
    return Profile(
        bundle=row.bundle,
        runtime=row.definition.name,
        batch_size=row.batch_size,
        time_steps=row.time_steps,
        failure=result.failure.message if result.failure else None,
        nodes=map_to_layers(times, model),
    )


def profile_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: gives the `NodeTime`s of each case in the extras."""
    definition = Definition(**arguments["definition"])
    engine = get_engine(definition.engine)
    if not isinstance(engine, ProfilingEngine):
        raise EngineError(f"engine {definition.engine!r} has no profiler")
    for feeds in cases:
        times = engine.profile(Path(arguments["model"]), definition, feeds, PROFILED_CALLS)
        yield {}, {"nodes": [asdict(node) for node in times]}


def with_names(model: ir.Model, path: Path, folder: Path) -> Path:
    """`path`, or a copy of its model in `folder` in which every recurrent node has a name for a profiler to tell."""
    nameless = [node for node in layer_nodes(model) if not node.name]
    if not nameless:
        return path
    for node in nameless:
        node.name = node_name(node)
    folder.mkdir(exist_ok=True)
    ir.save(model, folder / path.name, external_data=f"{path.name}.data")
    return folder / path.name


def map_to_layers(times: list[NodeTime], model: ir.Model) -> list[ProfiledNode]:
    """Say which recurrent layers each node computes; the longest first."""
    layer_of: dict[str, str] = {}
    for node in layer_nodes(model):
        for name in (node_name(node), *(value.name for value in node.outputs if value.name)):
            layer_of.setdefault(name, node_name(node))
    nodes = [
        ProfiledNode(
            name=node.names[0], operator=node.operator, layers=_layers(node, layer_of), nanoseconds=node.nanoseconds
        )
        for node in times
    ]
    return sorted(nodes, key=lambda node: -node.nanoseconds)


def _layers(node: NodeTime, layer_of: Mapping[str, str]) -> tuple[str, ...]:
    """The layer that bears one of the node's names or, for a recurrent module, the layers below its name.

    A change of layout right behind a layer may bear the layer's name, too, and counts as part of it.
    """
    if found := [layer_of[name] for name in node.names if name in layer_of]:
        return (found[0],)
    if node.operator not in RECURRENT:
        return ()
    return tuple(dict.fromkeys(layer for layer in layer_of.values() if layer.startswith(f"{node.names[0]}.")))
