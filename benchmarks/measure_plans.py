"""How fast the plan that `rnnexport tune` finds is, beside PyTorch and PyTorch's own export in each runtime: `--help`.

A row is a stack of layers with random weights. Its plan is tuned, then measured with all peers side by side: each in
processes of its own that take turns. Peers have their defaults, and the same precision but where their name says
otherwise. What is printed are ratios: a peer's time over the plan's, above 1 where the plan is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rnnexport
from rnnexport.benchmark.deepbench import deepbench_shapes
from rnnexport.benchmark.interleaving import Effort, Target, lower_quartile_ns, measure_interleaved
from rnnexport.benchmark.machine import Machine
from rnnexport.benchmark.probe import probe_machine
from rnnexport.benchmark.roofline import lower_bound
from rnnexport.benchmark.timing import JOB, time_windows
from rnnexport.benchmark.weight_formats import FORMATS
from rnnexport.benchmark.work import LayerWork
from rnnexport.bundle.bundle import load_bundle
from rnnexport.bundle.plan import read_plan
from rnnexport.engines.contract import Definition
from rnnexport.runtime.worker import run_job
from rnnexport.tuning.graph_variants import graph_variants_for
from rnnexport.tuning.results import Candidate
from rnnexport.tuning.tune import tune

ME = "measure_plans"
STACKS = ((2, 128), (3, 256), (3, 480), (6, 320), (3, 960))
LARGE = 1024
LONGEST_COMPILED = 25
MOST_STEPS = 50
ORT = Definition(name="ort-cpu", engine="onnxruntime", precision="float32")
OPENVINO = Definition(name="openvino-cpu", engine="openvino", precision="float32")


@dataclass(frozen=True)
class Row:
    """A stack and one size of call; a call of a stream takes and gives states."""

    group: str
    budget: str
    cell: str
    layers: int
    hidden_size: int
    batch_size: int
    time_steps: int
    bidirectional: bool = False
    stream: bool = False

    def __str__(self) -> str:
        both = ", both directions" if self.bidirectional else ""
        return f"{self.cell} {self.layers}×{self.hidden_size}{both}, {self.batch_size} × {self.time_steps}"


def rows() -> list[Row]:
    """All rows of all groups."""
    cut = {(s.cell, s.hidden_size, s.batch_size, min(s.time_steps, MOST_STEPS)): None for s in deepbench_shapes()}
    found = [Row("deepbench", "float32", c, 1, h, b, t) for c, h, b, t in cut]
    found += [
        Row("batches", "float32", c, 1, h, b, 25) for c in ("lstm", "gru") for h in (64, 256, 512) for b in (16, 64)
    ]
    found += [Row("both directions", "float32", c, 2, h, 1, 25, True) for c in ("lstm", "gru") for h in (64, 128, 256)]
    large = [(c, h, b) for c in ("gru", "lstm") for h in (1024, 1536, 2816) for b in (1, 4)]
    found += [Row("int8", "max-error=0.02", c, 1, h, b, 20) for c, h, b in large if c == "gru" or (h < 2816 and b == 1)]
    found += [Row("int4", "max-error=0.05", c, 1, h, 1, 20) for c, h, b in large if b == 1 and c == "gru"]
    for group, budget in (("streaming", "float32"), ("streaming int8", "max-error=0.02")):
        found += [Row(group, budget, c, n, h, 1, 1, stream=True) for n, h in STACKS for c in ("lstm", "gru")]
    return found


def seconds(row: Row) -> float:
    """Of timed calls, for each peer and each finalist: large layers share L3 and memory with whatever else runs."""
    return 2.0 if row.hidden_size >= LARGE else 0.5


def stack(row: dict[str, Any]) -> Any:
    """The same module in every process; the outputs of a stream's are those and its states."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            cell = {"lstm": nn.LSTM, "gru": nn.GRU}[row["cell"]]
            size = row["hidden_size"]
            self.rnn = cell(size, size, row["layers"], batch_first=True, bidirectional=row["bidirectional"])

        def forward(self, x, *states):
            if not states:
                return self.rnn(x)[0]
            y, after = self.rnn(x, states if len(states) > 1 else states[0])
            return y, *(after if len(states) > 1 else [after])

    return Stack().eval()


def feeds_of(row: Row) -> dict[str, Any]:
    """X and, for a stream, states of 0."""
    size = (row.batch_size, row.time_steps, row.hidden_size)
    feeds = {"x": np.random.default_rng(0).standard_normal(size, np.float32)}
    names = {"lstm": ("h_0", "c_0"), "gru": ("h_0",)}[row.cell] if row.stream else ()
    return feeds | {n: np.zeros((row.layers, row.batch_size, row.hidden_size), np.float32) for n in names}


def stock_job(arguments: dict[str, Any], cases: Iterator[Any]) -> Iterator[Any]:
    """Worker job: write the file of PyTorch's own exporter, and give y in float64."""
    import contextlib
    import io

    import torch

    for feeds in cases:
        module, given = stack(arguments), tuple(torch.from_numpy(array) for array in feeds.values())
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(module, given, arguments["path"], input_names=list(feeds), dynamo=True)
        with torch.inference_mode():
            y = module.double()(*(tensor.double() for tensor in given))
        yield {"y": (y[0] if isinstance(y, tuple) else y).numpy()}, {}


def torch_job(arguments: dict[str, Any], cases: Iterator[Any]) -> Iterator[Any]:
    """Worker job: time PyTorch, eager, compiled, or with weights of 8 bits, window by window."""
    import torch

    module = stack(arguments)
    if arguments["how"] == "int8":
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.LSTM, torch.nn.GRU}, torch.qint8)
    if arguments["how"] == "compiled":
        torch._dynamo.config.allow_rnn = True
        module = torch.compile(module)

    def bind(feeds: Any) -> Any:
        given = [torch.from_numpy(np.array(array)) for array in feeds.values()]

        @torch.inference_mode()
        def call() -> Any:
            y = module(*given)
            return {"y": (y[0] if isinstance(y, tuple) else y).numpy()}

        return call

    yield from time_windows(bind, lambda feeds: bind(feeds)(), cases, arguments["window_seconds"], {})


def tuned(row: Row, folder: Path, budget: str, options: argparse.Namespace) -> tuple[Candidate, Path, Definition]:
    """Tune a row's bundle; what was chosen, the graph that it runs, kept from the next search, and in which runtime."""
    report = tune(
        folder / "bundle",
        budget=budget,
        purpose="streaming" if row.stream else "latency",
        batch_sizes=[row.batch_size],
        time_steps=[row.time_steps],
        static_shapes=True,  # as the peers have them
        time_limit_seconds=options.time_limit,
        seconds=seconds(row),
    )
    plan = read_plan(load_bundle(folder / "bundle"), "step" if row.stream else "sequence")
    assert plan is not None
    assert report.chosen is not None
    graph = folder / f"{budget.partition('=')[0]}.onnx"
    shutil.copy(folder / "bundle" / plan.graph, graph)
    return report.chosen, graph, plan.definition


def measure(row: Row, machine: Machine, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Tune one row and measure it beside its peers."""
    feeds, arguments, lossy = feeds_of(row), asdict(row), row.budget != "float32"
    stock = folder / "stock.onnx"
    (told,) = run_job(f"{ME}:stock_job", {**arguments, "path": str(stock)}, [feeds])
    expected = told.checked().outputs["y"]
    spec = f"x:float32[batch,time,{row.hidden_size}]"
    rnnexport.export(stack(arguments), folder / "bundle", inputs=[spec], streaming=row.stream)
    plans = {"plan": tuned(row, folder, row.budget, options)}
    if row.stream and lossy:
        plans["float32 plan"] = tuned(row, folder, "float32", options)
    own = {"x": feeds["x"]}
    if row.stream:
        states = [info for info in load_bundle(folder / "bundle").manifest.step.inputs if info.name != "x"]
        one = [row.batch_size if isinstance(size, str) else size for size in states[0].shape]
        own |= {info.name: np.zeros(one, np.float32) for info in states}
    errors: dict[str, float] = {}

    def fault(name: str, tolerance: float) -> Any:
        def judge(outputs: dict[str, Any]) -> str | None:
            (y,) = [array for array in outputs.values() if array.shape == expected.shape][:1]
            errors[name] = float(np.abs(y - expected).max())
            return None if errors[name] <= tolerance else f"wrong answer, by {errors[name]:.2g}"

        return judge

    def model(name: str, path: Path, definition: Definition, given: dict[str, Any], tolerance: float) -> Target:
        return Target(JOB, {"model": str(path), "definition": definition.model_dump()}, given, fault(name, tolerance))

    def pytorch(name: str, how: str, tolerance: float) -> Target:
        return Target(f"{ME}:torch_job", {**arguments, "how": how}, feeds, fault(name, tolerance))

    targets = {name: model(name, *found[1:], own, 1.0 if lossy else 1e-4) for name, found in plans.items()} | {
        "ONNX Runtime": model("ONNX Runtime", stock, ORT, feeds, 1e-4),
        "OpenVINO": model("OpenVINO", stock, OPENVINO, feeds, 1e-4),
        "PyTorch": pytorch("PyTorch", "eager", 1e-4),
    }
    if lossy:
        targets["PyTorch int8"] = pytorch("PyTorch int8", "int8", 1.0)
    if row.group == "deepbench" and row.cell == "lstm" and row.time_steps <= LONGEST_COMPILED:
        targets["compiled"] = pytorch("compiled", "compiled", 1e-4)
    figures = measure_interleaved(list(targets.values()), Effort(seconds(row), 2, time_limit_seconds=300))
    best = plans["plan"][0]
    return {
        "row": arguments,
        "name": str(row),
        "plan": best.name,
        "error": best.error,
        "errors": errors,
        "bound": bound(row, best, machine),
        "times": {
            name: lower_quartile_ns(figure.repetitions) if figure.repetitions else None
            for name, figure in zip(targets, figures, strict=True)
        },
        "failures": {n: f.failure for n, f in zip(targets, figures, strict=True) if f.failure},
    }


def bound(row: Row, best: Candidate, machine: Machine) -> dict[str, Any]:
    """The least time of the plan's recurrent layers on this machine, in ns, and what holds it."""
    directions, size = 1 + row.bidirectional, row.hidden_size
    work = [
        LayerWork("", {"lstm": 4, "gru": 3}[row.cell], inputs, size, row.batch_size, row.time_steps)
        for inputs in [size, *[directions * size] * (row.layers - 1)]
        for _ in range(directions)
    ]
    forms = {
        form.name: form for form in graph_variants_for("step" if row.stream else "sequence", lossy=True, small=False)
    }
    half = best.definition.precision != "float32"
    name = max((name for name in forms if best.form.startswith(name)), key=len)  # what is spared stands behind it
    weights = FORMATS[best.definition.precision] if half else forms[name].format
    found = lower_bound(work, machine, weights, best.definition.threads or machine.cores)
    return {"nanoseconds": found.nanoseconds, "held by": found.work_limit}


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The rows of each group, and the geometric means of their ratios, in Markdown."""
    peers = ["ONNX Runtime", "OpenVINO", "PyTorch", "compiled", "PyTorch int8", "float32 plan"]
    text = []
    for group in dict.fromkeys(line["row"]["group"] for line in lines):
        those = [line for line in lines if line["row"]["group"] == group]
        present = [peer for peer in peers if any(peer in line["times"] for line in those)]
        columns = ["layers, batch × steps", "plan", "error", "time", "held by", "reached", *present]
        text += [f"## {group}, {those[0]['row']['budget']}", "", _cells(columns), "|---" * len(columns) + "|"]
        text += [_cells(_row(line, present)) for line in those]
        means = [_geometric_mean([ratio for line in those if (ratio := _ratio(line, peer))]) for peer in present]
        text += [_cells(["geometric mean", *[""] * 5, *(f"**{mean:.2f}**" for mean in means)]), ""]
    single = [line for line in lines if line["row"]["budget"] == "float32"]
    for peer in peers[:3]:
        ratios = [ratio for line in single if (ratio := _ratio(line, peer))]
        if ratios:
            text.append(f"All {len(ratios)} rows in float32, beside {peer}: {_geometric_mean(ratios):.2f}")
    return "\n".join(text)


def _row(line: dict[str, Any], peers: Sequence[str]) -> list[str]:
    own, errors = line["times"]["plan"], line["errors"]
    time, reached = (f"{own / 1e6:.3g} ms", f"{line['bound']['nanoseconds'] / own:.0%}") if own else ("failed", "-")
    cells = [line["name"], line["plan"], f"{line['error']:.1g}", time, line["bound"]["held by"], reached]
    for peer in peers:
        ratio = _ratio(line, peer)
        error = f" (error {errors[peer]:.1g})" if peer == "PyTorch int8" and peer in errors else ""
        cells.append(f"{ratio:.2f}{error}" if ratio else "-")
    return cells


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(line: dict[str, Any], peer: str) -> float | None:
    own, time = line["times"]["plan"], line["times"].get(peer)
    return time / own if own and time else None


def _geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(np.mean(np.log(ratios))) if ratios else math.nan


def main() -> None:
    """Measure the rows that `--out` does not hold yet, and print all as tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = list(dict.fromkeys(row.group for row in rows()))
    parser.add_argument("--group", action="append", choices=groups, help="repeat it; default: all")
    parser.add_argument("--time-limit", type=float, default=150, help="of each search")
    parser.add_argument("--out", type=Path, default=Path("plans.jsonl"), help="results; what it holds is not redone")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = [line["row"] for line in lines]
    machine = probe_machine()
    for row in rows():
        if asdict(row) in done or row.group not in (options.group or groups):
            continue
        with tempfile.TemporaryDirectory(prefix="rnnexport-plans-") as folder:
            found = measure(row, machine, options, Path(folder))
        lines.append(found)
        with options.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(found["name"], found["plan"], found["times"], found["failures"], file=sys.stderr, flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
