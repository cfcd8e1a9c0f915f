"""What each runtime says when it loads a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.linting.results import Finding
from rnnexport.runtime.worker import Arrays, Extras, run_job

LOADS = "does-not-load"
LOADING_SECONDS = 60
"""A runtime that takes longer over a file is said not to load it."""
RUNTIMES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}


def find_refusals(path: Path) -> list[Finding]:
    """Load a file in one runtime after another, in a process of its own; a finding for each that does not."""
    cases = [{"number": np.array(number)} for number in range(len(RUNTIMES))]
    job = "rnnexport.linting.loading:load_job"
    results = run_job(job, {"model": str(path)}, cases, time_limit_seconds=LOADING_SECONDS)
    return [
        Finding(
            rule=LOADS,
            severity="error",
            title="a runtime cannot load the file",
            where=name,
            what=result.failure.message.removeprefix(f"on case {number} "),
            consequences={name: "cannot load the file"},
            repairable=False,
        )
        for number, (name, result) in enumerate(zip(RUNTIMES, results, strict=True))
        if result.failure is not None
    ]


def load_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: load a file in the runtime of that `number`, which is all that is asked."""
    for case in cases:
        engine = [*RUNTIMES.values()][int(case["number"])]
        definition = Definition(name=engine, engine=engine, precision="float32", threads=1)
        get_engine(engine).load(Path(arguments["model"]), definition).close()
        yield {}, {}
