"""How fast recurrent layers are in each form, beside ONNX Runtime's fused operator and PyTorch: `--help` says how.

Every form runs in a process of its own. The processes take turns, a slice of time each, and each slice waits for a
moment in which the machine does nothing else, so that what else it does meets all of them alike, or none. What is
printed is the ratio of the fused operator's time to the form's, above 1 where the form is faster: of the shortest
calls, and in brackets of the medians.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.optimizing.rewrite import Rewrite, apply
from rnnexport.passes.step import StepGraph
from rnnexport.worker import run_job

QUIET_TRIES = 5
IDLE = 3
"""Position in a line of /proc/stat."""
GATES = {"LSTM": 4, "GRU": 3}
FORMS = {
    "fused": None,
    "scan": Rewrite(),
    "int8": Rewrite(weights="int8", product="matmulnbits"),
    "int8+W": Rewrite(weights="int8", product="matmulnbits", input_projection="same"),
    "int8 dequantize+W": Rewrite(weights="int8", product="dequantize", input_projection="same"),
    "int8 dynamic+W": Rewrite(weights="int8", product="dynamic", input_projection="same"),
    "int8 fused": Rewrite("fused", "int8"),
    "int4+W": Rewrite(weights="int4", input_projection="same"),
    "int4/32+W": Rewrite(weights="int4", input_projection="same", block_size=32),
}
FLOAT32 = ["ort:fused", "ort:scan", "ov:fused", "ov:scan", "torch"]
INT = ["ort:fused", "ort:int8", "ort:int8+W", "ort:int8 dequantize+W", "ort:int8 dynamic+W", "ort:int4+W"]
INT += ["ort:int4/32+W", "ov:fused", "ov:int8 dequantize+W", "torch"]
STEP = ["ort:fused", "ort:scan", "ort:int8+W", "ort:int8 dequantize+W", "ort:int4+W", "ort:int4/32+W"]
STEP += ["ov:fused", "ov:scan", "ov:int8 dequantize+W", "torch"]
STACKS = [(2, 128), (3, 256), (3, 480), (6, 320), (3, 960)]
# table → (variants, [(cell, layers, batch, hidden size, time steps)])
TABLES = {
    "gru": (INT, [("GRU", 1, b, h, 20) for b, h in ((1, 1024), (1, 1536), (1, 2816), (4, 1536))]),
    "lstm": ([*INT, "ort:int8 fused"], [("LSTM", 1, b, h, 20) for b, h in ((1, 256), (1, 1024), (1, 1536))]),
    "step": (STEP, [(c, layers, 1, h, 1) for c in GATES for layers, h in STACKS]),
    "float32": (FLOAT32, [(c, 1, 1, h, 20) for c in GATES for h in (64, 256, 1024, 2048)]),
}


def stack(cell: str, layers: int, hidden: int) -> ir.Model:
    """X [time, batch, hidden] → y of the last layer, weights as Xavier would draw them."""
    generator = np.random.default_rng(0)
    nodes, weights, x = [], [numpy_helper.from_array(np.array([1]), "axis")], "x"
    attributes = {"hidden_size": hidden} | ({"linear_before_reset": 1} if cell == "GRU" else {})
    for layer in range(layers):
        for name, scale in (("W", hidden**-0.5), ("R", hidden**-0.5), ("B", 0.1)):
            rows = GATES[cell] * hidden
            shape = (1, 2 * rows) if name == "B" else (1, rows, hidden)
            array = generator.normal(scale=scale, size=shape).astype(np.float32)
            weights.append(numpy_helper.from_array(array, f"{name}{layer}"))
        y = "y" if layer == layers - 1 else f"y{layer}"
        inputs = [x, f"W{layer}", f"R{layer}", f"B{layer}"]
        nodes.append(helper.make_node(cell, inputs, [f"Y{layer}"], f"rnn{layer}", **attributes))
        nodes.append(helper.make_node("Squeeze", [f"Y{layer}", "axis"], [y]))
        x = y
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["time", "batch", hidden]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "stack", values[:1], values[1:], weights)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))


def write(folder: Path, form: str, cell: str, layers: int, hidden: int, steps: int) -> Path:
    """Write the stack in a form; of one step, as a step graph of straight-line nodes."""
    model, rewrite = stack(cell, layers, hidden), FORMS[form]
    if steps == 1:
        StepGraph()(model)
    if rewrite is not None:
        if steps == 1:
            rewrite = Rewrite(**(vars(rewrite) | {"lowering": "unrolled", "time_steps": 1}))
        apply(rewrite, model, lambda _: {})
    path = folder / f"{form.replace('/', '-')}.onnx"
    ir.save(model, path)
    return path


def slices_job(arguments: dict, cases: Iterator) -> Iterator:
    """Worker job: for each case, time calls for a while, and give the samples in nanoseconds."""
    clock = time.process_time_ns if arguments["processor_time"] else time.perf_counter_ns
    run = None
    for feeds in cases:
        run = run or (torch_call if arguments["torch"] else engine_call)(arguments, feeds)
        samples: list[int] = []
        for least, seconds in ((10, 0.2), (5, arguments["seconds"])):  # the first ones warm up
            samples, end = [], time.monotonic() + seconds
            while len(samples) < least or time.monotonic() < end:
                start = clock()
                run()
                samples.append(clock() - start)
        yield {}, {"samples_ns": samples}


def engine_call(arguments: dict, feeds: dict) -> Callable[[], object]:
    """One call of a file in its engine."""
    definition = Definition(**arguments["definition"])
    return get_engine(definition.engine).load(Path(arguments["model"]), definition).bind(feeds)


def torch_call(arguments: dict, feeds: dict) -> Callable[[], object]:
    """One call of PyTorch's own module, eager."""
    import torch

    torch.set_num_threads(arguments["threads"])
    torch.set_grad_enabled(False)
    module = getattr(torch.nn, arguments["cell"])(arguments["hidden"], arguments["hidden"], arguments["layers"]).eval()
    return partial(module, torch.from_numpy(feeds["x"]))


def start(variant: str, folder: Path, shape: tuple, options: argparse.Namespace) -> Iterator:
    """Start a variant's process; each item of what is returned is one slice of its time."""
    cell, layers, batch, hidden, steps = shape
    feeds = {"x": np.random.default_rng(1).standard_normal((steps, batch, hidden)).astype(np.float32)}
    arguments = {"cell": cell, "layers": layers, "hidden": hidden, "torch": variant == "torch", **vars(options)}
    if variant != "torch":
        engine, _, form = variant.partition(":")
        path = folder / f"{form.replace('/', '-')}.onnx"
        if not path.exists():
            write(folder, form, cell, layers, hidden, steps)
        name = {"ort": "onnxruntime", "ov": "openvino"}[engine]
        definition = Definition(name=engine, engine=name, precision="float32", threads=options.threads)
        arguments |= {"model": str(path), "definition": definition.model_dump()}
        if steps == 1:
            states = "hc" if cell == "LSTM" else "h"
            suffixes = [f"_l{n}" for n in range(layers)] if layers > 1 else [""]
            zeros = np.zeros((1, batch, hidden), np.float32)
            feeds |= {f"{state}_0{suffix}": zeros for state in states for suffix in suffixes}
    return run_job("measure_forms:slices_job", arguments, [feeds] * options.rounds)


def wait_for_quiet() -> None:
    """Wait until the processors are idle, or for half a second."""
    for _ in range(QUIET_TRIES):
        before = processor_times()
        time.sleep(0.1)
        spent = processor_times() - before
        if spent[IDLE] >= 0.9 * spent.sum():
            return


def processor_times() -> np.ndarray:
    """Jiffies of all processors since the machine started, by kind."""
    return np.array(Path("/proc/stat").read_text().splitlines()[0].split()[1:9], int)


def measure(variants: list[str], shape: tuple, options: argparse.Namespace) -> dict[str, list[int]]:
    """All samples of each variant, in nanoseconds, from processes that take turns."""
    with tempfile.TemporaryDirectory() as folder:
        running = {variant: start(variant, Path(folder), shape, options) for variant in variants}
        samples: dict[str, list[int]] = {variant: [] for variant in variants}
        for _ in range(options.rounds):
            for variant, results in running.items():
                wait_for_quiet()
                samples[variant] += next(results).checked().extras["samples_ns"]
        for results in running.values():
            results.close()
    return samples


def main() -> None:
    """Print a line for each shape of the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="table", help=f"of {' '.join(TABLES)}; default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="a slice of time")
    parser.add_argument("--rounds", type=int, default=4, help="slices for each form")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the process's own time on the processors, for machines that are never quiet; use --threads 1",
    )
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    for table in options.tables or TABLES:
        variants, shapes = TABLES[table]
        for shape in shapes:
            report(table, shape, measure(variants, shape, options))


def report(table: str, shape: tuple, samples: dict[str, list[int]]) -> None:
    """One shape: microseconds of the fused operator, and the ratios."""
    least = {variant: min(each) for variant, each in samples.items()}
    median = {variant: float(np.median(each)) for variant, each in samples.items()}
    cell, layers, batch, hidden, steps = shape
    print(f"{table} {cell} layers={layers} batch={batch} hidden={hidden} steps={steps} "
          f"fused {least['ort:fused'] / 1e3:.0f} µs ({median['ort:fused'] / 1e3:.0f})")  # fmt: skip
    for variant in samples:
        ratios = [each["ort:fused"] / each[variant] for each in (least, median)]
        print(f"    {variant:24} {ratios[0]:5.2f} ({ratios[1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
