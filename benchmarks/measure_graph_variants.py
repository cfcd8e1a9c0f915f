"""How fast recurrent layers are in each form that `rnnexport tune` tries, with the runtimes' own threads: `--help`.

A stack of layers with random weights is exported, written in every form, and each form is measured in its runtimes, all
side by side: each in a process of its own that takes turns. What is printed are ratios: the time of the baseline in
ONNX Runtime over the form's, above 1 where the form is faster.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import rnnexport
from rnnexport.benchmark.interleaving import Effort, Figures, Target, lower_quartile_ns, measure_interleaved
from rnnexport.benchmark.timing import JOB
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.tuning.graph_variants import BASELINE, graph_variants_for, write_variant

NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
STACKS = ((3, 256), (3, 480), (3, 960))
# title → (cell, time steps, [(layers, batch size, hidden size)])
TABLES = {
    "GRU, 20 steps": ("GRU", 20, [*((1, 1, h) for h in (256, 1024, 1536, 2816)), (1, 4, 1536)]),
    "LSTM, 20 steps": ("LSTM", 20, [(1, 1, h) for h in (64, 256, 1024, 1536)]),
    "GRU, one step": ("GRU", 1, [(layers, 1, h) for layers, h in STACKS]),
    "LSTM, one step": ("LSTM", 1, [(layers, 1, h) for layers, h in STACKS]),
}
TOLERANCES = {"float32": 1e-4, "int16": 1e-3, "int8": 0.1, "int4": 0.5}
"""By which a form's outputs may differ from the baseline's; what differs more is wrong and not measured."""


def exported(cell: str, layers: int, hidden_size: int, steps: int, folder: Path) -> Path:
    """A stack's sequence graph or, of one step, its step graph."""
    import torch

    torch.manual_seed(0)

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(torch.nn, cell)(hidden_size, hidden_size, layers, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    spec = f"x:float32[batch,time,{hidden_size}]"
    bundle = rnnexport.export(Stack(), folder / "bundle", inputs=[spec], streaming=steps == 1)
    return bundle.step_path if steps == 1 else bundle.model_path


def drawn(path: Path, batch_size: int, steps: int) -> Feeds:
    """White noise for x, and states of 0."""
    import onnx_ir

    feeds = {}
    for value in onnx_ir.load(path).graph.inputs:
        sizes = {"batch": batch_size, "time": steps}
        shape = [size if isinstance(size, int) else sizes[str(size)] for size in value.shape or ()]
        noise = np.random.default_rng(0).standard_normal(shape, np.float32)
        feeds[value.name or ""] = noise if value.name == "x" else np.zeros_like(noise)
    return feeds


def target(model: Path, engine: str, feeds: Feeds, expected: Mapping[str, np.ndarray], tolerance: float) -> Target:
    """A file in a runtime."""
    definition = Definition(name=engine, engine=engine, precision="float32")

    def fault(outputs: Mapping[str, np.ndarray]) -> str | None:
        worst = max(float(np.abs(array - expected[name]).max()) for name, array in outputs.items())
        return None if worst <= tolerance else f"wrong answer, by {worst:.2g}"

    return Target(JOB, {"model": str(model), "definition": definition.model_dump()}, feeds, fault)


def measure(cell: str, steps: int, shape: tuple[int, int, int], seconds: float) -> dict[str, Figures]:
    """The figures of each form in each of its runtimes."""
    layers, batch_size, hidden_size = shape
    one_thread = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)
    targets = {}
    with tempfile.TemporaryDirectory(prefix="rnnexport-forms-") as name:
        folder = Path(name)
        plain = exported(cell, layers, hidden_size, steps, folder)
        feeds = drawn(plain, batch_size, steps)
        expected = get_engine("onnxruntime").load(plain, one_thread).run(feeds)
        for form in graph_variants_for("step" if steps == 1 else "sequence", lossy=True, small=False):
            if form.name.startswith("fused, int8") and cell == "GRU":
                continue
            path = plain if form == BASELINE else folder / f"{form.name}.onnx"
            if form != BASELINE:
                write_variant(form, plain, path, [])
            for engine in form.engines:
                title = f"{form.name}, {NAMES[engine]}"
                targets[title] = target(path, engine, feeds, expected, TOLERANCES[form.weights])
        figures = measure_interleaved(list(targets.values()), Effort(seconds, 2))
    return dict(zip(targets, figures, strict=True))


def table(title: str, seconds: float) -> str:
    """A row for each form, a column for each shape, in Markdown."""
    cell, steps, shapes = TABLES[title]
    columns = [measure(cell, steps, shape, seconds) for shape in shapes]
    first = f"{BASELINE.name}, {NAMES['onnxruntime']}"
    heads = [f"{layers} × {hidden}" + (f", batch {batch}" if batch > 1 else "") for layers, batch, hidden in shapes]
    lines = [f"| {title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    plain = [lower_quartile_ns(column[first].repetitions) for column in columns]
    lines.append(f"| {first} | {' | '.join(f'{time / 1e6:.3g} ms' for time in plain)} |")
    for name in list(columns[0])[1:]:
        cells = [
            column[name].failure or f"{time / lower_quartile_ns(column[name].repetitions):.2f}"
            for time, column in zip(plain, columns, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="append", choices=TABLES, help="repeat it; default: all")
    parser.add_argument("--seconds", type=float, default=0.4, help="of timed calls, for each form")
    options = parser.parse_args()
    for title in options.table or TABLES:
        print(table(title, options.seconds), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
