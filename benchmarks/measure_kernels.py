"""How fast `rnnexport::RecurrentStack` is beside what there is today, and how far from float64: `--help`.

The forms that `rnnexport tune` tries are measured side by side, those with the operator (`stack`, `stack, int8` …) and
those without, and torch.ao's dynamic int8 beside them. Each has a process of its own for each number of threads and
takes turns with the others; its figure is the lower quartile of a call's time, with the better number of threads.
Printed are ratios: another candidate's time over this one's, above 1 where this one is faster.

| column | what it says |
|---|---|
| float32 | the baseline: the graph as exported, in ONNX Runtime |
| plan | the fastest form without the operator, of any precision |
| int8 plan | the fastest form without the operator whose weights have 8 bits |
| torch.ao | PyTorch's dynamic int8 |
| error | the largest difference of y from float64 in this call, on white noise |
| reached | the bound (see docs/explanation/roofline.md) over the time, and what holds it |

Run it on a quiet machine, from the checkout, with rnnexport-kernels installed: `python -m benchmarks.measure_kernels`.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure_graph_variants import drawn, exported
from rnnexport.benchmark.machine import Machine
from rnnexport.benchmark.probe import probe_machine
from rnnexport.benchmark.roofline import lower_bound
from rnnexport.benchmark.work import LayerWork
from rnnexport.tuning.graph_variants import BASELINE, graph_variants_for, write_variant

STREAMS = ((2, 128), (3, 256), (3, 480), (6, 320), (3, 960))
SERIES = (1024, 1536)
TORCH_AO = "torch.ao int8"
TURNS = 12


@dataclass(frozen=True)
class Shape:
    """A stack of layers as wide as its input, and the size of a call; a call of one step takes and gives states."""

    cell: str
    layers: int
    hidden_size: int
    time_steps: int
    batch_size: int = 1

    def __str__(self) -> str:
        return f"{self.cell} {self.layers} × {self.hidden_size}, {self.time_steps} steps, batch {self.batch_size}"

    @property
    def work(self) -> list[LayerWork]:
        """What the bound is made of."""
        gates = {"lstm": 4, "gru": 3}[self.cell]
        layer = LayerWork("", gates, self.hidden_size, self.hidden_size, self.batch_size, self.time_steps)
        return [layer] * self.layers


SHAPES = {
    "streams": [(*stack, 1, 1) for stack in STREAMS],
    "series": [(1, hidden_size, 20, 1) for hidden_size in SERIES],
    "batch": [(1, 1024, 20, 4)],
}
NOISE = (1, 256, 1000, 1)
"""The shape whose error is measured: 1,000 steps."""


@dataclass
class Candidate:
    """One way to compute a shape, and what was measured of it."""

    title: str
    weights: str
    operator: bool
    error: float | None = None
    seconds: dict[int, float] = field(default_factory=dict)
    """The lower quartile, by threads; empty where it could not run."""
    reached: dict[int, float] = field(default_factory=dict)
    """The bound over the time, by threads."""
    held_by: dict[int, str] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """The better number of them."""
        return min(self.seconds, key=self.seconds.__getitem__)

    @property
    def best(self) -> float:
        """Seconds with that number."""
        return self.seconds[self.threads]


def serve() -> None:
    """A candidate's process: tells its error, reads how many calls to make, answers with the seconds of each."""
    job = json.loads(sys.stdin.readline())
    call = _torch_ao(job) if job["path"] is None else _onnx_runtime(job)
    expected = np.load(job["expected"])
    error = float(np.abs(call() - expected).max())
    for _ in range(4):
        call()
    print(json.dumps(error), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
        print(json.dumps(seconds), flush=True)


def _onnx_runtime(job: dict[str, Any]) -> Callable[[], np.ndarray]:
    """A bound call of a file in ONNX Runtime, which gives y."""
    from rnnexport.engines import get_engine
    from rnnexport.engines.contract import Definition

    definition = Definition(name="ort", engine="onnxruntime", precision="float32", threads=job["threads"])
    session = get_engine("onnxruntime").load(Path(job["path"]), definition)
    call = session.bind(drawn(Path(job["path"]), job["batch_size"], job["time_steps"]))
    y = session.outputs[0].name
    return lambda: call()[y]


def _torch_ao(job: dict[str, Any]) -> Callable[[], np.ndarray]:
    """PyTorch's dynamic int8; a bare layer would not be quantized."""
    import torch

    torch.set_num_threads(job["threads"])
    layers = torch.nn.Sequential(_layers(job["cell"], job["layers"], job["hidden_size"]))
    quantized = torch.ao.quantization.quantize_dynamic(layers, {type(layers[0])}, dtype=torch.qint8)
    x = torch.from_numpy(_noise(job["batch_size"], job["time_steps"], job["hidden_size"]))

    @torch.inference_mode()
    def call() -> np.ndarray:
        return quantized(x)[0].numpy()

    return call


def _layers(cell: str, layers: int, hidden_size: int) -> Any:
    """The layers that `exported` draws."""
    import torch

    torch.manual_seed(0)
    return getattr(torch.nn, cell.upper())(hidden_size, hidden_size, layers, batch_first=True).eval()


def _noise(*shape: int) -> np.ndarray:
    """The x that `drawn` draws."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@contextmanager
def serving(job: dict[str, Any]) -> Iterator[tuple[float, Callable[[int], list[float]]] | None]:
    """A process that makes calls, and its error; `None` where it cannot."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "from benchmarks.measure_kernels import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    sender, receiver = process.stdin, process.stdout

    def calls(count: int) -> list[float]:
        print(count, file=sender, flush=True)
        seconds: list[float] = json.loads(receiver.readline())
        return seconds

    print(json.dumps(job), file=sender, flush=True)
    try:
        told = receiver.readline()
        yield (json.loads(told), calls) if told else None
    finally:
        process.kill()
        process.wait()


def candidates(shape: Shape, folder: Path) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """What is measured, and the jobs of its processes."""
    import torch

    plain = exported(shape.cell.upper(), shape.layers, shape.hidden_size, shape.time_steps, folder)
    x = _noise(shape.batch_size, shape.time_steps, shape.hidden_size)
    with torch.inference_mode():
        y = _layers(shape.cell, shape.layers, shape.hidden_size).double()(torch.from_numpy(x).double())[0]
    np.save(folder / "expected.npy", y.numpy())
    common = asdict(shape) | {"expected": str(folder / "expected.npy")}
    for form in graph_variants_for("step" if shape.time_steps == 1 else "sequence", lossy=True, small=False):
        if "onnxruntime" not in form.engines or (form.name.startswith("fused, int8") and shape.cell == "gru"):
            continue
        path = plain if form == BASELINE else folder / f"{form.name}.onnx"
        if form != BASELINE:
            write_variant(form, plain, path, [])
        operator = form.rewrite is not None and form.rewrite.lowering == "stack"
        yield Candidate(form.name, form.weights, operator), common | {"path": str(path)}
    yield Candidate(TORCH_AO, "int8", operator=False), common | {"path": None}


def measure(shape: Shape, machine: Machine, seconds: float, threads: list[int]) -> list[Candidate]:
    """Time each candidate of a shape."""
    formats = {form.name: form.format for form in graph_variants_for("sequence", lossy=True, small=False)}
    with tempfile.TemporaryDirectory(prefix="rnnexport-kernels-") as name:
        jobs = list(candidates(shape, Path(name)))
        for count in threads:
            _alternate(jobs, count, seconds)
    for candidate, _ in jobs:
        for count, measured in candidate.seconds.items() if candidate.operator else ():
            bound = lower_bound(shape.work, machine, formats[candidate.title], count)
            candidate.reached[count] = bound.nanoseconds / 1e9 / measured
            candidate.held_by[count] = bound.work_limit
    return [candidate for candidate, _ in jobs]


def _alternate(jobs: list[tuple[Candidate, dict[str, Any]]], threads: int, seconds: float) -> None:
    """Time all candidates with so many threads, taking turns."""
    samples: dict[str, list[float]] = {}
    with ExitStack() as opened:
        lanes = []
        for candidate, job in jobs:
            served = opened.enter_context(serving(job | {"threads": threads}))
            if served is not None:
                candidate.error, calls = served
                lanes.append((candidate, calls, float(np.median(calls(3)))))
        for _ in range(TURNS):
            for candidate, calls, one in lanes:
                samples.setdefault(candidate.title, []).extend(calls(max(1, int(seconds / TURNS / one))))
    for candidate, _, _ in lanes:
        candidate.seconds[threads] = float(np.quantile(samples[candidate.title], 0.25))


def noise_errors(shape: Shape) -> dict[str, float]:
    """The largest error of each candidate over a series of white noise."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="rnnexport-kernels-") as name:
        for candidate, job in candidates(shape, Path(name)):
            with serving(job | {"threads": 1}) as served:
                if served is not None:
                    found[candidate.title] = served[0]
    return found


def ratios(measured: list[Candidate]) -> dict[str, Candidate]:
    """The candidates that ratios are taken to, by column."""
    ran = {candidate.title: candidate for candidate in measured if candidate.seconds}
    plans = [candidate for title, candidate in ran.items() if not candidate.operator and title != TORCH_AO]
    eight = [candidate for candidate in plans if candidate.weights == "int8"]
    peers = {"float32": ran[BASELINE.name], "plan": min(plans, key=lambda plan: plan.best)}
    if eight:
        peers["int8 plan"] = min(eight, key=lambda plan: plan.best)
    if TORCH_AO in ran:
        peers["torch.ao"] = ran[TORCH_AO]
    return peers


def told(shape: Shape, measured: list[Candidate]) -> str:
    """A line for each candidate, the fastest first."""
    peers = ratios(measured)
    named = "; ".join(f"{column}: {peers[column].title}" for column in ("plan", "int8 plan") if column in peers)
    lines = [f"\n{shape}; without the operator: {named}"]
    for candidate in sorted((each for each in measured if each.seconds), key=lambda each: each.best):
        cells = [f"{peer.best / candidate.best:5.2f} × {column}" for column, peer in peers.items()]
        if candidate.operator:
            cells.append(f"{candidate.reached[candidate.threads]:4.0%} of {candidate.held_by[candidate.threads]}")
        threads = f"{candidate.best * 1e6:9.1f} µs, {candidate.threads} threads, error {candidate.error:.0e}"
        lines.append(f"  {candidate.title:28} {threads}: {'  '.join(cells)}")
    missing = [candidate.title for candidate in measured if not candidate.seconds]
    return "\n".join(lines + [f"  {title:28} could not run" for title in missing])


def processor() -> str:
    """The CPU's name, and the instructions that matter here."""
    told = dict(line.split("\t", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if "\t" in line)
    told = {key: value.lstrip("\t: ") for key, value in told.items()}
    flags = told.get("flags", "").split()
    best = "AVX-512 with VNNI" if "avx512_vnni" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512"
    return f"{told.get('model name', platform.processor())}, {best}"


def main() -> None:
    """Measure and print, shape by shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timed calls, for each candidate")
    parser.add_argument("--threads", type=int, action="append", help="repeat it; default: 1 and 2")
    parser.add_argument("--only", choices=["errors", *SHAPES], action="append", help="a part; repeat it; default: all")
    parser.add_argument("--cell", choices=["gru", "lstm"], action="append", help="repeat it; default: both")
    parser.add_argument("--json", type=Path, help="write what was measured to this file, anew after each shape")
    options = parser.parse_args()
    cells, parts = options.cell or ["gru", "lstm"], options.only or ["errors", *SHAPES]
    result: dict[str, Any] = {"cpu": processor(), "errors": {}, "shapes": []}
    print(result["cpu"])

    def keep() -> None:
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n")

    machine = probe_machine()
    for cell in cells if "errors" in parts else []:
        result["errors"][cell] = noise_errors(Shape(cell, *NOISE))
        keep()
        print(f"\n{cell} {NOISE[1]}: largest error over {NOISE[2]} steps of white noise")
        for title, error in result["errors"][cell].items():
            print(f"  {title:36} {error:.1e}")
    for part in (part for part in SHAPES if part in parts):
        for shape in (Shape(cell, *sizes) for cell in cells for sizes in SHAPES[part]):
            measured = measure(shape, machine, options.seconds, options.threads or [1, 2])
            result["shapes"].append(asdict(shape) | {"candidates": [asdict(each) for each in measured]})
            keep()
            print(told(shape, measured), flush=True)


if __name__ == "__main__":
    main()
