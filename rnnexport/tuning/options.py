"""The options of a search for the fastest plan."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from annotated_doc import Doc
from annotated_types import Ge

from rnnexport.arguments.options import OnProgress, Options, Runtimes, Seed, silent
from rnnexport.bundle.purpose import Purpose


@dataclass(frozen=True)
class TuneOptions(Options):
    """What is to be best, for which calls, at which price, and how long is searched."""

    _: KW_ONLY
    budget: Annotated[
        str,
        Doc(
            "What it may cost: float32 (rounding only), max-error=1e-3 (of any output), or metric-drop=0.002 (of the "
            "task's metric)."
        ),
    ] = "float32"
    purpose: Annotated[
        Purpose, Doc("What is to be best: the latency of a call, of many series or of a chunk, or size.")
    ] = "latency"
    batch_sizes: Annotated[
        Sequence[int], Doc("Rows per call. Default: 1, or what the model fixes; throughput: 16,64.")
    ] = ()
    time_steps: Annotated[
        Sequence[int], Doc("Steps per call. Default: 25, or what the model fixes; streaming: 1.")
    ] = ()
    runtimes: Runtimes = ()
    inputs: Annotated[
        str | Path | None, Doc("Real inputs, a .npz with one array for each: to calibrate and to judge.")
    ] = None
    static_shapes: Annotated[
        bool,
        Doc("Calls are of few sizes: let OpenVINO compile the graph for each, which delays the first of a size."),
    ] = False
    time_limit_seconds: Annotated[
        float,
        Ge(1),
        Doc(
            "Seconds: what would go beyond them is not tried. The float64 reference, the baseline and the plan's proof "
            "are never left out."
        ),
    ] = 300.0
    seconds: Annotated[float, Ge(0.05), Doc("How long each candidate of the last round is timed.")] = 2.0
    resume: Annotated[bool, Doc("Go on where a search was interrupted, or ran out of time.")] = False
    seed: Seed = 0
    on_progress: OnProgress = silent
