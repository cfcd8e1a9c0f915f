"""LSTM and GRU layers of many sizes in ONNX Runtime and OpenVINO, each beside its bound; `nox -s roofline` runs it.

Status 1 where a call is faster than the probe holds possible: then the probe is too slow on this machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from rnnexport.benchmark.probe import probe_machine
from rnnexport.benchmark.roofline import Bound, lower_bound
from rnnexport.benchmark.weight_formats import FORMATS
from rnnexport.benchmark.work import LayerWork, recurrent_work
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition

SHAPES = tuple(product((1, 4, 16, 64), (1, 10, 100)))  # batch × time
MOST_FLOP = 2e10  # of one call, so that the table takes minutes
GATES = {"LSTM": 4, "GRU": 3}


class Measured(NamedTuple):
    """The latency of one call."""

    layer: str
    definition: Definition
    work: tuple[LayerWork, ...]
    median_ns: float
    fastest_ns: float


def main() -> None:
    """Measure, probe before and after, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden-size", type=int, nargs="*", default=[64, 128, 256, 512, 1024, 1536, 2816])
    parser.add_argument("--seconds", type=float, default=0.2, help="for each row")
    arguments = parser.parse_args()
    before = probe_machine()
    with tempfile.TemporaryDirectory() as folder:
        measured = [
            row
            for cell, hidden in product(GATES, arguments.hidden_size)
            for row in measure(cell, hidden, Path(folder) / "layer.onnx", arguments.seconds, before.cores)
        ]
    machine = before.best(probe_machine())
    table = Table(
        "layer", "runtime", "threads", "batch × time", "median", "held by", "median reaches", "fastest reaches"
    )
    shares = []
    for row in measured:
        weights, threads = FORMATS[row.definition.precision], row.definition.threads
        bound: Bound = lower_bound(row.work, machine, weights, threads)
        shares.append(bound.nanoseconds / row.fastest_ns)
        table.add_row(
            row.layer,
            row.definition.name,
            str(threads),
            f"{row.work[0].batch_size} × {row.work[0].time_steps}",
            f"{row.median_ns / 1e3:,.0f} µs",
            bound.work_limit,
            f"{100 * bound.nanoseconds / row.median_ns:.0f} %",
            f"{100 * shares[-1]:.0f} %",
        )
    console = Console(width=120)
    console.print(table)
    console.print(machine)
    beyond = sum(share > 1 for share in shares)
    console.print(f"{len(shares)} rows, the best at {100 * max(shares):.0f} % of its bound, {beyond} beyond it")
    sys.exit(1 if beyond else 0)


def measure(cell: str, hidden: int, path: Path, seconds: float, cores: int) -> Iterator[Measured]:
    """Time one layer in every runtime, thread count and shape."""
    model = write_layer(cell, hidden, path)
    for (engine, precision), threads in product(
        (("onnxruntime", "float32"), ("openvino", "float32"), ("openvino", "bfloat16")), sorted({1, cores})
    ):
        definition = Definition(name=f"{engine} {precision}", engine=engine, precision=precision, threads=threads)
        if not get_engine(engine).available(definition).usable:
            continue
        session = get_engine(engine).load(path, definition)
        for batch, steps in SHAPES:
            work, _ = recurrent_work(model, {"batch": batch, "time": steps})
            if work[0].projection_flop + steps * work[0].step_flop <= MOST_FLOP:
                x = np.random.default_rng(0).standard_normal((steps, batch, hidden)).astype(np.float32)
                samples = timed(session.bind({"x": x}), seconds)
                yield Measured(f"{cell} {hidden}", definition, work, float(np.median(samples)), min(samples))
        session.close()


def timed(call, seconds: float) -> list[int]:
    """Nanoseconds of calls, at least three after one that warms up."""
    call()
    samples: list[int] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples) < 3:
        before = time.perf_counter_ns()
        call()
        samples.append(time.perf_counter_ns() - before)
    return samples


def write_layer(cell: str, hidden: int, path: Path) -> ir.Model:
    """Write one layer with as many features as hidden units."""
    shape = (1, GATES[cell] * hidden, hidden)
    weights = np.random.default_rng(0).uniform(-(hidden**-0.5), hidden**-0.5, (2, *shape)).astype(np.float32)
    options: dict[str, Any] = {"linear_before_reset": 1} if cell == "GRU" else {}
    node = helper.make_node(cell, ["x", "W", "R"], ["y"], name="layer", hidden_size=hidden, **options)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", hidden])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", 1, "batch", hidden])],
        [numpy_helper.from_array(array, name) for array, name in zip(weights, "WR", strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return ir.from_proto(model)


if __name__ == "__main__":
    main()
