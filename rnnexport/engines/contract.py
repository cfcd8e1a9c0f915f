"""What the rest of rnnexport may expect of an inference library.

1. An engine says whether it is usable, and if not, why and what mends it; asking never raises.
2. `load` gives a session on the device and in the precision of the definition, or raises. It never falls back.
3. A session maps arrays to arrays. Recurrent state is just named arrays in the feeds.
4. A session holds no clock and writes no files; returned arrays belong to the caller.
5. Several threads may call `run` of one session at the same time; what `bind` gives is for one thread at a time.
6. The library's own exceptions stop here: callers see `EngineError` and `RuntimeUnavailableError` only.

These are protocols, not base classes, so that an engine from another package needs nothing of ours at run time.
`check_feeds` is for every session to call: libraries differ in what they refuse; OpenVINO casts, or reuses old feeds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from rnnexport.errors import EngineError, RuntimeUnavailableError

Feeds = Mapping[str, NDArray[Any]]
Precision = Literal["float64", "float32", "float16", "bfloat16"]
PROFILE_WARMUP_CALLS = 5


class Definition(BaseModel):
    """How an engine is to run a model: the content of one file in `runtimes/`, under its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The file's stem; how people call this runtime."""
    engine: str
    """The name under which an engine is registered."""
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    """`cpu` or `cuda`; a colon and a number behind it name a certain GPU."""
    precision: Precision
    """What the engine is told to compute in, never left to the library; quantized weights are the graph's affair."""
    threads: int = Field(default=0, ge=0)
    """Threads for one call; 0 leaves the engine's default."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """The engine's own options, validated by the engine against what it knows."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph input or output. A `str` in `shape` is a symbolic dimension, `None` one without a name."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]

    def accepts(self, array: NDArray[Any]) -> bool:
        """Whether the array has this dtype, rank and these fixed dimensions."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(
                fixed == size for fixed, size in zip(self.shape, array.shape, strict=True) if isinstance(fixed, int)
            )
        )

    def __str__(self) -> str:
        """Like `float32 (batch, time, 4)`."""
        return f"{self.dtype} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


_loaded = _forked = False


def remember_loading() -> None:
    """To be called when a session is made: from now on this process cannot be forked with the library in use."""
    global _loaded
    _loaded = True


def _after_fork() -> None:
    global _forked
    _forked = _loaded


os.register_at_fork(after_in_child=_after_fork)


def check_feeds(inputs: Iterable[TensorSpec], feeds: Feeds) -> None:
    """Refuse feeds that are not exactly the model's inputs, and calls in a forked process.

    A fork copies no threads, so a library that was in use before it waits for its own for ever.

    Raises:
        EngineError: A missing or unknown name, a wrong dtype, rank or fixed dimension; or the process was forked.
    """
    if _forked:
        raise EngineError(
            "a model was loaded before this process was forked, and the library's threads are not here; load models "
            "after the fork only, or start processes by multiprocessing's 'spawn'"
        )
    specs = {spec.name: spec for spec in inputs}
    if specs.keys() != feeds.keys():
        raise EngineError(f"got inputs {sorted(feeds)}, the model takes {sorted(specs)}")
    for name, spec in specs.items():
        array = feeds[name]
        if not spec.accepts(array):
            raise EngineError(f"input {name!r}: got {array.dtype} {array.shape}, the model takes {spec}")


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run on a device of this machine, and if not, what would mend it."""

    usable: bool
    version: str | None
    """The library's version; `None` where it cannot be imported."""
    threads: int | None = None
    """Threads that one call uses by default, where the library says so."""
    reason: str | None = None
    """Why it is not usable, in one sentence."""
    remedy: str | None = None
    """A command that mends it."""

    def error(self, runtime: str) -> RuntimeUnavailableError:
        """What to raise, or to print, where the runtime of that name is not usable."""
        remedy = f"; run: {self.remedy}" if self.remedy else ""
        return RuntimeUnavailableError(f"runtime {runtime!r} is not usable: {self.reason}{remedy}")


class Session(Protocol):
    """A loaded model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes, in the model's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` returns, in the model's order."""
        ...

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Compute all outputs.

        Raises:
            EngineError: The library refused the feeds or failed.
        """
        ...

    def bind(self, feeds: Feeds) -> Callable[[], dict[str, NDArray[Any]]]:
        """Prepare one call for timing: a function that computes all outputs for exactly these feeds.

        Copies of the inputs and allocation happen in `bind` where the library can, not in the returned function. The
        arrays that the function returns may be overwritten by its next call.
        """
        ...

    def close(self) -> None:
        """Free what the library holds."""
        ...


@runtime_checkable
class InPlaceSession(Session, Protocol):
    """A session that computes on arrays of the caller's; no session need be one."""

    def bind_in_place(self, feeds: Feeds, outputs: Feeds) -> Callable[[], None]:
        """Prepare a call that reads the feeds and writes all outputs where they lie, each time it is made.

        The arrays are in C order; the outputs have the shapes that these feeds lead to, and share no memory with them.
        The call raises `EngineError` where the library fails.
        """
        ...


class Engine(Protocol):
    """An inference library."""

    @property
    def name(self) -> str:
        """The name under which it is registered and by which definitions call it."""
        ...

    def available(self, definition: Definition) -> Availability:
        """Say whether `definition`'s device and precision work here. Never raises."""
        ...

    def check_options(self, definition: Definition) -> None:
        """Refuse what this engine does not know.

        Raises:
            InputError: An option, precision or device that the engine has not; the message lists what it has.
        """
        ...

    def load(self, model: Path, definition: Definition) -> Session:
        """Load a model file exactly as the definition says.

        Raises:
            RuntimeUnavailableError: The device or the precision is not what would run.
            EngineError: The library refused the model; its own words are in the message.
        """
        ...


@runtime_checkable
class SourceEngine(Engine, Protocol):
    """An engine that runs the source model of a bundle instead of an ONNX file; no engine need be one."""

    @property
    def reads_source(self) -> Literal[True]:
        """Its `load` takes the bundle's `model.json`."""
        ...


@dataclass(frozen=True, slots=True)
class NodeTime:
    """What one node of a library's own graph takes, by the library's own profiler."""

    names: tuple[str, ...]
    """Under which names the node may be known in the model file, the likeliest first: its own, that of its outputs, or
    that of the module around it (`rnn` for `rnn.layer0`)."""
    operator: str
    nanoseconds: float
    """Of one call: its typical run times how often a call runs it."""

    @classmethod
    def typical(cls, names: tuple[str, ...], operator: str, durations_ns: Sequence[float], calls: int) -> NodeTime:
        """Take the median of a node's runs in so many calls, since work beside them can stretch a run hundredfold."""
        return cls(names, operator, median(durations_ns) * len(durations_ns) / calls)


@runtime_checkable
class ProfilingEngine(Engine, Protocol):
    """An engine whose library tells how long each node took; no engine need be one."""

    def profile(self, model: Path, definition: Definition, feeds: Feeds, calls: int) -> list[NodeTime]:
        """Load a model as `load` does, with the library's profiler on, and run it so many times after a warm-up.

        Nodes that only hold others, such as `Loop`, are left out. Raises what `load` and `Session.run` raise.
        """
        ...
