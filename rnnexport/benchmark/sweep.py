"""Bare recurrent layers of many sizes, each in everything that could run it, side by side.

Peers of a shape: PyTorch eager; PyTorch compiled, for an LSTM of few steps; the file of PyTorch's exporter in each
runtime; and our file in each runtime. All answers are held to a float64 run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.arguments.options import with_arguments
from rnnexport.benchmark.analysis import Analysis
from rnnexport.benchmark.bare_layers import OURS, STOCK
from rnnexport.benchmark.deepbench import LayerShape, deepbench_shapes
from rnnexport.benchmark.interleaving import Effort, Target, measure_interleaved
from rnnexport.benchmark.limits import Counted, roofline_of
from rnnexport.benchmark.options import BareLayerOptions, SweepOptions
from rnnexport.benchmark.results import BenchReport, ConditionsWatch, Measurement
from rnnexport.benchmark.results_log import ResultsLog
from rnnexport.benchmark.scenarios import run_one
from rnnexport.benchmark.timing import JOB
from rnnexport.benchmark.work import LayerWork
from rnnexport.bundle.manifest import Tolerance
from rnnexport.engines import reads_source
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import RnnexportError
from rnnexport.parity.compare import Reference, compare
from rnnexport.runtime.definitions import choose_runtimes
from rnnexport.runtime.worker import Arrays
from rnnexport.versions import tool_versions

_TOLERANCE = Tolerance(atol=1e-5, rtol=1.3e-6)  # of torch.testing.assert_close
_LONGEST_COMPILED = 25
"""Time steps: compiling unrolls them, and takes a quarter of a minute for these."""
_WINDOWS = 10
"""At least; the calls of large layers take seconds, and nothing is judged here."""
_EAGER = Definition(name="torch-cpu", engine="torch", precision="float32")
_COMPILED = Definition(name="torch-compiled", engine="torch", precision="float32")
_SOURCES = ("torch", "stock export", "rnnexport")
Peer = tuple[str, Definition, Target]


def layer_shapes(options: BareLayerOptions) -> list[LayerShape]:
    """Return the layers that the options name, and the calls of them."""
    if options.shapes is not None:
        return deepbench_shapes(every=options.all_shapes)
    cells = options.cells or ("lstm", "gru")
    return [
        LayerShape(*each)
        for each in product(cells, options.hidden_sizes, options.batch_sizes or (1,), options.time_steps or (25,))
    ]


def sweep_with(shapes: Sequence[LayerShape], options: SweepOptions) -> BenchReport:
    """Measure every peer at every shape, and write each shape's rows to a file of JSON lines at once.

    Only runtimes that read ONNX files take part.

    Raises:
        InputError: `out` exists and `resume` is false, or it was begun with other settings.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    watch = ConditionsWatch()
    chosen, not_usable = choose_runtimes(options.runtimes)
    definitions = [definition for definition in chosen if not reads_source(definition)]
    settings = {
        "seconds": options.seconds,
        "repetitions": options.repetitions,
        "seed": options.seed,
        "runtimes": [definition.name for definition in definitions],
        "versions": tool_versions(),
    }
    results_log = ResultsLog(Path(options.out), settings, resume=options.resume)
    rows = [Measurement.model_validate(row) for line in results_log.lines for row in line["rows"]]
    done = {line["shape"] for line in results_log.lines}
    wanted = [shape for shape in dict.fromkeys(shapes) if str(shape) not in done]
    time_limit = options.time_limit_seconds
    effort = Effort(options.seconds, options.repetitions, least_windows=_WINDOWS, time_limit_seconds=time_limit)
    left = _TimeLeft(len(wanted))
    for shape in wanted:
        options.on_progress(f"{shape} ({left})")
        with tempfile.TemporaryDirectory(prefix="rnnexport-sweep-") as folder:
            found = _BareLayer(shape, Path(folder), options.seed, time_limit).measure(definitions, effort)
        results_log.append({"shape": str(shape), "rows": [row.model_dump(mode="json") for row in found]})
        rows += found
        left.one_more()
    analysis = Analysis()
    if options.roofline:
        options.on_progress("what this machine can do")
        works = {
            (f"{shape.model}, {source}", shape.batch_size, shape.time_steps): _work(shape)
            for shape in shapes
            for source in _SOURCES
        }
        measured = [row for row in rows if row.samples_ns]
        analysis.roofline = roofline_of(
            measured, lambda row: works.get((row.bundle, row.batch_size, row.time_steps), ((), ()))
        )
    return BenchReport(
        seconds=options.seconds,
        analysis=analysis,
        measurements=rows,
        not_usable=not_usable,
        conditions=watch.conditions(),
        versions=tool_versions(),
    )


sweep = with_arguments(SweepOptions, sweep_with, "sweep")


def _work(shape: LayerShape) -> Counted:
    """Of one layer of one direction; the same for every peer."""
    size = shape.hidden_size
    layer = LayerWork(shape.model, {"lstm": 4, "gru": 3}[shape.cell], size, size, shape.batch_size, shape.time_steps)
    return (layer,), ()


class _TimeLeft:
    """Says how far a run is."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._start = total, 0, time.monotonic()

    def one_more(self) -> None:
        self._done += 1

    def __str__(self) -> str:
        place = f"{self._done + 1} of {self._total}"
        if not self._done:
            return place
        seconds = (time.monotonic() - self._start) / self._done * (self._total - self._done)
        return f"{place}, about {seconds / 60:.0f} min left"


class _BareLayer:
    """One layer and one shape of its calls."""

    def __init__(self, shape: LayerShape, folder: Path, seed: int, time_limit_seconds: float) -> None:
        self._shape, self._folder, self._time_limit = shape, folder, time_limit_seconds
        self._arguments = {"cell": shape.cell, "hidden_size": shape.hidden_size, "folder": str(folder), "seed": seed}
        size = (shape.batch_size, shape.time_steps, shape.hidden_size)
        self._feeds = {"x": np.random.default_rng(seed).standard_normal(size, np.float32)}

    def measure(self, definitions: Sequence[Definition], effort: Effort) -> list[Measurement]:
        """Measure all peers; a layer that cannot be made gives rows that say why."""
        try:
            self._run("write_job", self._feeds)
            expected = self._reference()
        except RnnexportError as exc:
            return [self._row("rnnexport", definition, failure=str(exc)) for definition in definitions]
        peers = self._peers(definitions, partial(_fault, expected))
        figures = measure_interleaved([target for _, _, target in peers], effort)
        return [
            self._row(source, definition).with_figures(figure)
            for (source, definition, _), figure in zip(peers, figures, strict=True)
        ]

    def _peers(self, definitions: Sequence[Definition], fault: Callable[[Arrays], str | None]) -> list[Peer]:
        def pytorch(definition: Definition, compiled: bool) -> Peer:
            arguments = {**self._arguments, "compiled": compiled}
            job = "rnnexport.benchmark.bare_layers:pytorch_job"
            return "torch", definition, Target(job, arguments, self._feeds, fault)

        def exported(source: str, file: str, definition: Definition) -> Peer:
            arguments = {"model": str(self._folder / file), "definition": definition.model_dump()}
            return source, definition, Target(JOB, arguments, self._feeds, fault)

        compiles = self._shape.cell == "lstm" and self._shape.time_steps <= _LONGEST_COMPILED
        return [
            pytorch(_EAGER, compiled=False),
            *([pytorch(_COMPILED, compiled=True)] if compiles else []),
            *(exported("stock export", STOCK, definition) for definition in definitions),
            *(exported("rnnexport", OURS, definition) for definition in definitions),
        ]

    def _reference(self) -> Reference:
        outputs = self._run("layer_reference_job", self._feeds)
        error = np.abs(outputs["float32"] - outputs["float64"])
        return Reference(outputs["float64"], np.dtype("float32"), float(error.max(initial=0)))

    def _run(self, job: str, case: Feeds) -> Mapping[str, Any]:
        return run_one(f"rnnexport.benchmark.bare_layers:{job}", self._arguments, case, self._time_limit).outputs

    def _row(self, source: str, definition: Definition, **content: Any) -> Measurement:
        return Measurement(
            bundle=f"{self._shape.model}, {source}",
            definition=definition,
            batch_size=self._shape.batch_size,
            time_steps=self._shape.time_steps,
            **content,
        )


def _fault(expected: Reference, outputs: Arrays) -> str | None:
    comparison = compare("y", outputs["y"], expected, _TOLERANCE)
    return None if comparison.passed else f"wrong answer: output 'y' {comparison.reason}"
