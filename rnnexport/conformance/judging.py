"""What a runtime makes of an example.

1. Right: every output of every call is what the specification says. Refused: the runtime says that it cannot, when it
   loads the model or when it runs it. Crash: its process ends, hangs or eats the machine's memory. Wrong: all else.
2. An output may differ by the tolerance below or by four times what the specification's own float64 result moves when
   every number that enters a node moves by one rounding of the runtime's precision. Where that is much (a threshold is
   hit exactly, activations without bound run away) the example tells nothing and is unclear.
3. One process answers many examples. After a crash the next one gets a fresh process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.manifest import Tolerance
from rnnexport.conformance.examples import Example
from rnnexport.conformance.graphs import Arrays, build_model, call_feeds, expected_outputs
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.parity.compare import Reference, compare
from rnnexport.runtime.worker import CaseResult, run_job

Kind = Literal["right", "refused", "wrong", "crash", "unclear"]

TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}
"""Of values around 1. A float32 kernel stays within 1e-6 here."""
_ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_OWN_MOVE_FACTOR = 4
_LARGEST_OWN_MOVE = 100  # times the tolerance
_LARGEST_VALUE = 1e3
_TIME_LIMIT_SECONDS = 30.0
_MEMORY_LIMIT_BYTES = 8 * 2**30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one example."""

    kind: Kind
    message: str = ""
    """The runtime's words, how the process ended, or the largest difference."""

    def resembles(self, other: Outcome) -> bool:
        """Whether both are of one kind and, if refused, for one reason."""
        return self.kind == other.kind and (self.kind != "refused" or self._reason == other._reason)

    @property
    def _reason(self) -> str:
        """The runtime's words without what names the node and its sizes."""
        return re.sub(r"[\W\d_]+", " ", re.sub(r"\[.*?\]|\(.*\)|'.*?'|LSTM|GRU", "", self.message))[:60]


class Judge:
    """A runtime, asked about one example after another; remembers what it has been asked."""

    def __init__(self, definition: Definition) -> None:
        self._precision = definition.precision
        self._outcomes: dict[Example, Outcome] = {}
        self._pending = _Pending()
        self._results = self._start(definition)

    @property
    def asked(self) -> int:
        """How many different examples have been run."""
        return len(self._outcomes)

    def __call__(self, example: Example) -> Outcome:
        """Run the example, unless that has been done.

        Raises:
            RnnexportError: The engine cannot be loaded at all.
        """
        if example not in self._outcomes:
            self._outcomes[example] = self._outcome(example)
        return self._outcomes[example]

    def known(self, example: Example) -> bool:
        """Whether asking costs nothing."""
        return example in self._outcomes

    def close(self) -> None:
        """End the runtime's process."""
        self._results.close()

    def _start(self, definition: Definition) -> Any:
        return run_job(
            "rnnexport.conformance.job:examples_job",
            {"definition": definition.model_dump()},
            self._pending,
            time_limit_seconds=_TIME_LIMIT_SECONDS,
            memory_limit_bytes=_MEMORY_LIMIT_BYTES,
        )

    def _outcome(self, example: Example) -> Outcome:
        calls = call_feeds(example)
        self._pending.feeds = _case(example, calls)
        result: CaseResult = next(self._results)
        if result.failure:
            if result.failure.loading:
                raise result.failure.error()
            if result.failure.kind == "error":  # an exception that an adapter should have turned into an EngineError
                return Outcome("refused", result.failure.message)
            return Outcome("crash", result.failure.message)
        if result.extras["refused"] is not None:
            return Outcome("refused", result.extras["refused"])
        return self._compared(example, calls, result.outputs)

    def _compared(self, example: Example, calls: Sequence[Arrays], outputs: Arrays) -> Outcome:
        tolerance = TOLERANCE[self._precision]
        for number, feeds in enumerate(calls):
            expected, own_moves = _expected(example, feeds, _ROUNDING[self._precision])
            if not _is_clear(expected, own_moves, tolerance):
                return Outcome("unclear")
            for name, value in expected.items():
                actual = outputs.get(f"{number}/{name}")
                allowed = tolerance * max(1.0, _largest(value)) + _OWN_MOVE_FACTOR * own_moves[name]
                if fault := _fault(actual, value, allowed):
                    where = f" of call {number + 1}" if len(calls) > 1 else ""
                    return Outcome("wrong", f"{name}{where} {fault}")
        return Outcome("right")


def _expected(example: Example, feeds: Arrays, rounding: float) -> tuple[Arrays, dict[str, float]]:
    """Outputs by the specification, and how much each moves when its numbers are rounded."""
    with np.errstate(over="ignore", invalid="ignore"):  # `_is_clear` looks at the size of what comes out
        expected = expected_outputs(example, feeds)
        moved = [expected_outputs(example, feeds, sign * rounding) for sign in (1, -1)]
        return expected, {name: max(_largest(each[name] - value) for each in moved) for name, value in expected.items()}


def _is_clear(expected: Arrays, own_moves: dict[str, float], tolerance: float) -> bool:
    largest = max(map(_largest, expected.values()))
    return largest <= _LARGEST_VALUE and max(own_moves.values()) <= _LARGEST_OWN_MOVE * tolerance


def _fault(actual: NDArray[Any] | None, expected: NDArray[Any], allowed: float) -> str | None:
    """What is wrong with an output."""
    if actual is None:
        return "is missing"
    comparison = compare("", actual, Reference(expected, np.dtype(np.float32), 0.0), Tolerance(atol=allowed, rtol=0))
    if comparison.passed:
        return None
    if actual.shape == expected.shape and actual.dtype == np.float32:
        finite = np.isfinite(comparison.max_abs_diff)
        return f"differs by {comparison.max_abs_diff:.2g}" if finite else "is not finite"
    return comparison.reason


def _largest(array: NDArray[Any]) -> float:
    return float(np.nan_to_num(np.abs(array), nan=np.inf).max(initial=0.0))


def _case(example: Example, calls: Sequence[Arrays]) -> Arrays:
    case: Arrays = {
        "model": np.frombuffer(build_model(example).SerializeToString(), np.uint8),
        "threads": np.array(example.threads),
        "calls": np.array(len(calls)),
    }
    return case | {f"{number}/{name}": array for number, feeds in enumerate(calls) for name, array in feeds.items()}


class _Pending(Sequence[Feeds]):
    """An endless row of cases, of which only the next is known: what to ask depends on the answers so far."""

    feeds: Feeds

    def __len__(self) -> int:
        return 0

    @overload
    def __getitem__(self, index: int) -> Feeds: ...
    @overload
    def __getitem__(self, index: slice) -> list[Feeds]: ...
    def __getitem__(self, index: int | slice) -> Feeds | list[Feeds]:
        return [] if isinstance(index, slice) else self.feeds

    def __iter__(self) -> Iterator[Feeds]:
        while True:
            yield self.feeds
