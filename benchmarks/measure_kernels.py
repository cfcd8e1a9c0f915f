"""How fast `rnnexport::RecurrentStack` is beside what there is today, and how far from float64: `--help`.

Each candidate of a shape has a process of its own and takes turns with the others; each figure is a ratio of lower
quartiles: the time of another candidate over this one's, above 1 where this one is faster. Beside the operator stand
the fused operators of ONNX Runtime in float32, every form that `rnnexport tune` tries, and torch.ao's dynamic int8.
The errors are those of 1,000 steps of white noise against the same weights in float64.

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
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.measure_graph_variants import exported
from rnnexport.tuning.graph_variants import BASELINE, graph_variants_for, write_variant
from tests.kernels.recurrent_stack import DrawnStack

STREAMS = ((2, 128), (3, 256), (3, 480), (6, 320), (3, 960))
SERIES = (1024, 1536)
BITS = {"float32": 32, "int16": 16, "int8": 8, "int4": 4}
OPERATOR = "operator, "


def stack(cell: str, layers: int, hidden_size: int, bits: int, activation_bits: int = 12) -> DrawnStack:
    """A stack as PyTorch's: a GRU resets after the product."""
    return DrawnStack(
        cell, "forward", int(cell == "gru"), layers, hidden_size, hidden_size, 0, bits, activation_bits=activation_bits
    )


def serve() -> None:
    """A candidate's process: reads how many calls to make, answers with the seconds of each."""
    job = json.loads(sys.stdin.readline())
    call = _torch_ao(job) if job["kind"] == "torch.ao int8" else _onnx_runtime(job)
    for _ in range(5):
        call()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
        print(json.dumps(seconds), flush=True)


def _onnx_runtime(job: dict[str, Any]) -> Callable[[], object]:
    """A bound call of a file in ONNX Runtime: white noise, states of 0."""
    from rnnexport.engines import get_engine
    from rnnexport.engines.contract import Definition

    definition = Definition(name="ort", engine="onnxruntime", precision="float32", threads=job["threads"])
    session = get_engine("onnxruntime").load(Path(job["path"]), definition)
    feeds = {}
    for value in session.inputs:
        first = value.name.lower() == "x"
        sizes = {"batch": job["batch"], "time": job["steps"]}
        shape = [size if isinstance(size, int) else sizes[str(size)] for size in value.shape]
        noise = np.random.default_rng(0).standard_normal(shape, np.float32)
        feeds[value.name] = noise if first else np.zeros_like(noise)
    return session.bind(feeds)


def _torch_ao(job: dict[str, Any]) -> Callable[[], object]:
    """PyTorch's dynamic int8; a bare layer would not be quantized."""
    import torch

    torch.set_num_threads(job["threads"])
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[job["cell"]]
    layers = torch.nn.Sequential(kind(job["hidden"], job["hidden"], job["layers"]))
    quantized = torch.ao.quantization.quantize_dynamic(layers.eval(), {kind}, dtype=torch.qint8)
    x = torch.randn(job["steps"], job["batch"], job["hidden"])

    def call() -> object:
        with torch.inference_mode():
            return quantized(x)

    return call


@contextmanager
def serving(job: dict[str, Any]) -> Iterator[Callable[[int], list[float]] | None]:
    """A process that makes calls; `None` where it cannot."""
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
        yield calls if receiver.readline() == "ready\n" else None
    finally:
        process.kill()
        process.wait()


def candidates(cell: str, layers: int, hidden: int, steps: int, batch: int, folder: Path) -> dict[str, dict[str, Any]]:
    """What is measured, by title."""
    common = {"cell": cell, "layers": layers, "hidden": hidden, "steps": steps, "batch": batch, "kind": "file"}
    jobs: dict[str, dict[str, Any]] = {}
    for name, bits in BITS.items():
        path = folder / f"operator-{name}.onnx"
        onnx.save(stack(cell, layers, hidden, bits).model(states=steps == 1), path)
        jobs[OPERATOR + name] = common | {"path": str(path)}
    plain = exported(cell.upper(), layers, hidden, steps, folder)
    for form in graph_variants_for("step" if steps == 1 else "sequence", lossy=True, small=False):
        if "onnxruntime" not in form.engines or (form.name.startswith("fused, int8") and cell == "gru"):
            continue
        path = plain if form == BASELINE else folder / f"{form.name}.onnx"
        if form != BASELINE:
            write_variant(form, plain, path, [])
        jobs[form.name] = common | {"path": str(path)}
    return jobs | {"torch.ao int8": common | {"kind": "torch.ao int8"}}


def measure(cell: str, layers: int, hidden: int, steps: int, batch: int, seconds: float, threads: list[int]) -> None:
    """Print each candidate's ratio to the fastest of today's."""
    times: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rnnexport-kernels-") as name:
        jobs = candidates(cell, layers, hidden, steps, batch, Path(name))
        for count in threads:
            for title, time_of_call in _alternate(jobs, count, seconds).items():
                times.setdefault(title, {})[count] = time_of_call
    best = {title: min(of_title.values()) for title, of_title in times.items()}
    today = {title: best[title] for title in best if not title.startswith(OPERATOR)}
    plans = {title: today[title] for title in today if title != "torch.ao int8"}
    fastest = min(plans, key=plans.__getitem__)
    print(f"\n{cell} {layers} × {hidden}, {steps} steps, batch {batch}; fastest plan of today: {fastest}")
    for title, value in sorted(best.items(), key=lambda item: item[1]):
        count = min(times[title], key=times[title].__getitem__)
        ratios = [f"{plans[BASELINE.name] / value:5.2f} × float32", f"{plans[fastest] / value:5.2f} × plan"]
        if "torch.ao int8" in today:
            ratios.append(f"{today['torch.ao int8'] / value:5.2f} × torch.ao")
        print(f"  {title:32} {value * 1e6:9.1f} µs, {count} threads: {'  '.join(ratios)}", flush=True)


def _alternate(jobs: dict[str, dict[str, Any]], threads: int, seconds: float) -> dict[str, float]:
    """The lower quartile of each candidate's seconds a call, all taking turns."""
    samples: dict[str, list[float]] = {}
    with ExitStack() as opened:
        open_calls = {
            title: calls
            for title, job in jobs.items()
            if (calls := opened.enter_context(serving(job | {"threads": threads}))) is not None
        }
        one = {title: float(np.median(calls(3))) for title, calls in open_calls.items()}
        turns = 12
        for _ in range(turns):
            for title, calls in open_calls.items():
                count = max(1, int(seconds / turns / one[title]))
                samples.setdefault(title, []).extend(calls(count))
    return {title: float(np.quantile(values, 0.25)) for title, values in samples.items()}


def errors(cell: str, hidden: int, steps: int) -> None:
    """Print the largest error over a series of white noise, against the same weights in float64."""
    from tests.kernels.recurrent_stack import session as open_session

    found = {}
    exact = None
    for name, bits in BITS.items():
        for activation_bits in (12, 8) if bits <= 8 else (12,):
            drawn = stack(cell, 1, hidden, bits, activation_bits)
            feeds = drawn.feeds(1, steps)
            if exact is None:
                exact = stack(cell, 1, hidden, 32).reference(feeds)["Y"]
            library = _library()
            y = open_session(drawn.model(), library).run(["Y"], feeds)[0]
            found[f"{name}, activations of {activation_bits} bits" if bits <= 8 else name] = np.abs(y - exact).max()
    print(f"\n{cell} {hidden}: largest error over {steps} steps of white noise")
    for title, error in found.items():
        print(f"  {title:32} {error:.1e}")


def _library() -> Path:
    path: Path = next(iter(entry_points(group="rnnexport.kernels"))).load()()
    return path


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timed calls, for each candidate")
    parser.add_argument("--threads", type=int, action="append", help="repeat it; default: 1 and 2")
    parser.add_argument("--only", choices=["streams", "series", "batch", "errors"], help="one part")
    parser.add_argument("--cell", choices=["gru", "lstm"], action="append", help="repeat it; default: both")
    options = parser.parse_args()
    threads = options.threads or [1, 2]
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    print(f"{cpu.partition(':')[2].strip() or platform.processor()}")
    for cell in options.cell or ["gru", "lstm"]:
        if options.only in (None, "errors"):
            errors(cell, 256, 1000)
        if options.only in (None, "streams"):
            for layers, hidden in STREAMS:
                measure(cell, layers, hidden, 1, 1, options.seconds, threads)
        if options.only in (None, "series"):
            for hidden in SERIES:
                measure(cell, 1, hidden, 20, 1, options.seconds, threads)
        if options.only in (None, "batch"):
            measure(cell, 1, 1024, 20, 4, options.seconds, threads)


if __name__ == "__main__":
    main()
