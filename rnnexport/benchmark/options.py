"""The options of each kind of measurement."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_doc import Doc
from annotated_types import Ge

from rnnexport.arguments.options import OnProgress, Options, Runtimes, Seed, silent
from rnnexport.benchmark.deepbench import Cell
from rnnexport.errors import InputError, UnknownNameError

Bundles = Annotated[Sequence[str | Path], Doc("Exported folders. Default: the two reference bundles.")]
Seconds = Annotated[float, Ge(0.01), Doc("How long each row is measured, after its warm-up.")]
Repetitions = Annotated[int, Ge(1), Doc("Fresh processes for each row, which share its seconds.")]
TimeLimit = Annotated[float, Ge(1), Doc("Seconds after which a call counts as hanging.")]
FixedSteps = Annotated[int | None, Ge(1), Doc("Steps per series. Default: 25, or what the model fixes.")]


@dataclass(frozen=True)
class LatencyOptions(Options):
    """One call after another, alone on the machine."""

    bundles: Bundles = ()
    runtimes: Runtimes = ()
    _: KW_ONLY
    batch_sizes: Annotated[Sequence[int], Doc("Rows per call. Default: 1, or what the model fixes.")] = ()
    time_steps: Annotated[Sequence[int], Doc("Steps per series. Default: 25, or what the model fixes.")] = ()
    seconds: Seconds = 3.0
    repetitions: Repetitions = 2
    compare_with: Annotated[str | Path | None, Doc("An earlier bench.json to compare with.")] = None
    against: Annotated[str | Path | None, Doc("A runtime or bundle that the others are compared with.")] = None
    fail_over: Annotated[
        float | None, Ge(0), Doc("The exit status is 1 where a compared row is slower by more than this share.")
    ] = None
    time_limit_seconds: TimeLimit = 600.0
    memory_limit_bytes: Annotated[int | None, Doc("Of each process. Default: most of what is free.")] = None
    seed: Seed = 0
    roofline: Annotated[
        bool, Doc("Set each latency beside what this machine can do, which is probed for 10 seconds.")
    ] = False
    profile: Annotated[bool, Doc("Say where the time goes, by layer and node, by each runtime's profiler.")] = False
    on_progress: OnProgress = silent


@dataclass(frozen=True)
class ThroughputOptions(Options):
    """Ever larger batches."""

    bundles: Bundles = ()
    runtimes: Runtimes = ()
    _: KW_ONLY
    time_steps: FixedSteps = None
    seconds: Seconds = 3.0
    repetitions: Repetitions = 2
    largest_batch: Annotated[int, Ge(1), Doc("Where the search ends in any case.")] = 4096
    time_limit_seconds: TimeLimit = 600.0
    seed: Seed = 0
    on_progress: OnProgress = silent


@dataclass(frozen=True)
class StreamingOptions(Options):
    """Series that come chunk by chunk."""

    time_steps: Annotated[int, Ge(1), Doc("Steps of a chunk.")] = 1
    rate: Annotated[
        float | None, Ge(1e-3), Doc("Time steps per second of each stream; without it, only latency is told.")
    ] = None
    seconds: Seconds = 3.0
    seed: Seed = 0
    time_limit_seconds: TimeLimit = 600.0


@dataclass(frozen=True)
class ServerOptions(Options):
    """Requests that come when they like.

    Raises:
        InputError: Not just one of `rate` and `p99_limit_ms` is given.
    """

    rate: Annotated[float | None, Ge(1e-3), Doc("Requests per second.")] = None
    p99_limit_ms: Annotated[
        float | None, Ge(1e-3), Doc("Milliseconds; the highest rate whose p99 holds it is searched.")
    ] = None
    max_batch_size: Annotated[int, Ge(1), Doc("Requests that may share a call.")] = 1
    max_wait_ms: Annotated[float, Ge(0), Doc("Milliseconds a request waits for others.")] = 0.0
    time_steps: FixedSteps = None
    seconds: Seconds = 3.0
    seed: Seed = 0
    time_limit_seconds: TimeLimit = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.rate is None) == (self.p99_limit_ms is None):
            raise InputError("the server scenario takes either `rate` or `p99_limit_ms`")


@dataclass(frozen=True)
class MixOptions(Options):
    """Series of the lengths that really come."""

    lengths: Annotated[Sequence[int], Doc("Time steps to draw from. Default: those of the bundle's own series.")] = ()
    batch_size: Annotated[int, Ge(1), Doc("Series of a call; shorter ones are padded to the longest.")] = 1
    seconds: Seconds = 3.0
    repetitions: Repetitions = 2
    seed: Seed = 0
    time_limit_seconds: TimeLimit = 600.0


@dataclass(frozen=True)
class BareLayerOptions(Options):
    """Which bare layers a sweep measures.

    Raises:
        InputError: Not just one of `shapes` and `hidden_sizes` is given, or what belongs to the other one.
        UnknownNameError: There is no such cell.
    """

    shapes: Annotated[
        Literal["deepbench"] | None, Doc("Bare layers of these shapes, beside PyTorch and its exporter.")
    ] = None
    all_shapes: Annotated[bool, Doc("All of `shapes`, not the quick part.")] = False
    hidden_sizes: Annotated[Sequence[int], Doc("Bare layers of these sizes, beside PyTorch and its exporter.")] = ()
    cells: Annotated[Sequence[Cell], Doc("With `hidden_sizes`: lstm, gru or both. Default: both.")] = ()
    batch_sizes: Annotated[Sequence[int], Doc("Rows per call.")] = ()
    time_steps: Annotated[Sequence[int], Doc("Steps per series.")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.shapes is None) == (not self.hidden_sizes):
            raise InputError("bare layers need either `shapes=deepbench` or `hidden_sizes=N`")
        if wrong := [cell for cell in self.cells if cell not in get_args(Cell)]:
            raise UnknownNameError("cell", wrong[0], get_args(Cell))
        if self.shapes is None and self.all_shapes:
            raise InputError("`all_shapes` goes with `shapes`, not with `hidden_sizes`")
        for name in ("batch_sizes", "time_steps", "cells"):
            if self.shapes is not None and getattr(self, name):
                raise InputError(f"`{name}` goes with `hidden_sizes`; `shapes` has its own")


@dataclass(frozen=True)
class SweepOptions(Options):
    """How a sweep over bare layers is measured."""

    runtimes: Runtimes = ()
    _: KW_ONLY
    out: Annotated[str | Path, Doc("The file of results.")] = "bench-sweep.jsonl"
    resume: Annotated[bool, Doc("Go on with `out` where it ended.")] = False
    seconds: Seconds = 3.0
    repetitions: Repetitions = 2
    time_limit_seconds: TimeLimit = 600.0
    seed: Seed = 0
    roofline: Annotated[
        bool, Doc("Set each latency beside what this machine can do, which is probed for 10 seconds.")
    ] = False
    on_progress: OnProgress = silent
