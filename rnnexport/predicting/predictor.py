"""A bundle in use: arrays in, arrays out, in this process.

1. Without a runtime named, the bundle's plan runs; where there is none, or none that can run here, the baseline
   does, in ONNX Runtime. What is not as it was meant to be is said with a `RnnexportWarning`.
2. Several threads may use one predictor at the same time. A stream is for one thread at a time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.chunks import Arrays
from rnnexport.bundle.decoding import Ends, decoded_rows, ends_at
from rnnexport.bundle.plan import GraphKind, Plan, differences_from_here, has_other_instructions, read_calls, read_plan
from rnnexport.data.batches import batches_by_length
from rnnexport.engines import get_engine, reads_source
from rnnexport.engines.contract import Definition, Feeds, Session
from rnnexport.errors import BundleError, EngineError, InputError, RnnexportWarning, RuntimeUnavailableError
from rnnexport.parity.compare import largest_difference
from rnnexport.predicting.series import Series, series_input
from rnnexport.predicting.streams import Stream, fits
from rnnexport.results.result import Result, ShownInNotebooks
from rnnexport.runtime.definitions import load_definition

_PLAIN = "ort-cpu"


class Prediction(BaseModel):
    """What a model says of one series."""

    name: str
    class_name: str | None = None
    probabilities: list[float] = []
    steps: list[str] = []
    """The class of each time step, where the model names one a step."""
    values: list[float] | list[list[float]] = []
    """Where the model gives values: one row of them for each time step, where it has an answer a step."""


class Predictions(Result):
    """The classes of all series of a file."""

    class_names: tuple[str, ...]
    series: list[Prediction]

    def records(self) -> list[dict[str, Any]]:
        """A row for each series."""
        return [prediction.model_dump(exclude_defaults=True) for prediction in self.series]


class Predictor(ShownInNotebooks):
    """Runs a bundle in one runtime, in this process."""

    def __init__(self, bundle: Bundle, runtime: str | None = None) -> None:
        """Load the bundle's plan, or its baseline into `runtime`.

        Raises:
            RuntimeUnavailableError: The runtime does not work on this machine.
        """
        self.bundle = bundle
        self.class_names = bundle.manifest.class_names
        self.vocabulary = bundle.manifest.vocabulary
        self.plan: Plan | None = None
        """What was chosen by `rnnexport tune` and runs here; `None` where the baseline runs."""
        self.step_plan: Plan | None = None
        """The same for streams."""
        self._series = series_input(bundle.manifest)
        self._per_step = self._series is not None and bundle.manifest.outputs[0].time_axis is not None
        self._lock = threading.Lock()
        self._plain_step_session: Session | None = None
        self._step_session: Session | None = None
        self._decoder_session: Session | None = None
        planned: Session | None = None
        if runtime is None:
            self.plan, planned = _load_plan(bundle, "sequence")
        if runtime is None and bundle.manifest.step is not None:
            self.step_plan, self._step_session = _load_plan(bundle, "step")
        self.definition: Definition = self.plan.definition if self.plan else load_definition(runtime or _PLAIN)
        self._session = planned if planned is not None else _load(bundle.file_for(self.definition), self.definition)

    @property
    def takes_tokens(self) -> bool:
        """Whether a time step is one whole number, not a row of features."""
        return self._series is not None and self._series.info.role == "indices"

    def run(self, feeds: Feeds) -> Arrays:
        """Make one bare call: the graph's own inputs in, its outputs out, as arrays by name.

        Raises:
            EngineError: An input is missing, unknown, or of another type or shape; the message says which.
        """
        return self._session.run(feeds)

    def __call__(self, series: Sequence[Series]) -> NDArray[Any]:
        """Return the class probabilities [series, classes] of series, each [time, features] of any length ≥ 1.

        A model of values gives them as [series, outputs]; one with an answer a step gives [series, steps, ...] with
        as many steps as the longest series has; what stands behind the end of a shorter one means nothing.

        Raises:
            InputError: A series is empty, of another shape, or not finite; or the bundle takes or gives more than one
                thing.
        """
        return self._answer(self.outputs(series))

    def outputs(self, series: Sequence[Series]) -> Arrays:
        """Return all outputs of the graph for series of any length, as they are; the axis of the series comes first.

        Series of like length share a call: see `rnnexport.data.batches.batches_by_length`.

        Raises:
            InputError: As for a call, but the bundle may give more than one thing.
        """
        return self._outputs({str(index): values for index, values in enumerate(series)})

    def predict(self, series: Mapping[str, Series], on_progress: Callable[[str], None] = lambda _: None) -> Predictions:
        """Predict named series, such as `read_series` gives."""
        rows = self._answer(self._outputs(series, on_progress))
        return Predictions(
            class_names=self.class_names,
            series=[self._prediction(name, row, len(series[name])) for name, row in zip(series, rows, strict=True)],
        )

    def stream(self, batch_size: int = 1) -> Stream:
        """Start a series, or several side by side, that come chunk by chunk; make as many as there are to be.

        The plan for streams runs where there is one that can take `batch_size`, else `step.onnx` in the runtime.

        Raises:
            InputError: The bundle has no step graph, or PyTorch, which reads none, was named as the runtime.
        """
        step = self.bundle.manifest.step
        if step is None:
            raise InputError(
                f"bundle {str(self.bundle.path)!r} has no step graph, so it cannot stream; export it with `streaming`"
            )
        planned = self._step_session
        session = planned if planned is not None and fits(step, planned, batch_size) else self._plain_step()
        return Stream(self.bundle.manifest, session, batch_size, self._answer)

    def decode(
        self, feeds: Feeds, max_steps: int = 100, start_token: int | None = None, stop: int | Ends | None = None
    ) -> list[NDArray[Any]]:
        """Decode greedily: the encoder once, then steps, each fed with what the last one gave.

        Args:
            feeds: What the encoder takes, by name.
            max_steps: The most steps of a row.
            start_token: The first token; by default the bundle's. A decoder of frames starts from zeros.
            stop: The token that ends a row, by default the bundle's; or a function that says of each row, from the
                step's outputs by name, whether that step is its last.

        Returns:
            For each row its tokens [steps], without start and stop; or its frames [steps, …].

        Raises:
            InputError: The bundle has no decoder, or there is nothing to start from.
            EngineError: An input is missing, unknown, or of another type or shape; the message says which.
        """
        decoder = self.bundle.manifest.decoder
        if decoder is None:
            raise InputError(f"bundle {str(self.bundle.path)!r} has no decoder; export it with `decoder_step`")
        if max_steps < 1:
            raise InputError(f"max_steps is {max_steps}; it must be at least 1")
        if not decoder.is_fed_tokens and (start_token is not None or isinstance(stop, int)):
            raise InputError("the decoder is fed frames, which no token starts or ends; stop may be a function")
        start_token = decoder.start_token if start_token is None else start_token
        stop = decoder.stop_token if stop is None else stop
        ends = ends_at(decoder, stop) if isinstance(stop, int) else stop
        rows, lengths = decoded_rows(
            self._session,
            self._decoder(),
            decoder,
            feeds,
            max_steps=max_steps,
            start_token=start_token,
            ends=ends,
        )
        decoded = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        return [row[:-1] if isinstance(stop, int) and row[-1] == stop else row for row in decoded]

    def _decoder(self) -> Session:
        """The session of `decoder.onnx`, loaded when it is first needed."""
        with self._lock:
            if self._decoder_session is None:
                definition = load_definition(_PLAIN) if self.plan else self.definition  # a plan is of the encoder
                self._decoder_session = _load(self.bundle.decoder_path, definition)
            return self._decoder_session

    def _plain_step(self) -> Session:
        """The session of `step.onnx`, loaded when it is first needed."""
        definition = self.definition
        if reads_source(definition) and self.plan is None:
            raise InputError(f"runtime {definition.name!r} reads no step graph; choose one that runs ONNX files")
        with self._lock:
            if self._plain_step_session is None:
                runs = load_definition(_PLAIN) if reads_source(definition) else definition
                self._plain_step_session = _load(self.bundle.step_path, runs)
            return self._plain_step_session

    def _outputs(self, series: Mapping[str, Series], on_progress: Callable[[str], None] = lambda _: None) -> Arrays:
        taken, infos = self._series, self.bundle.manifest.outputs
        if taken is None:
            names = ", ".join(info.name for info in self.bundle.manifest.inputs)
            raise InputError(f"bundle {str(self.bundle.path)!r} takes {names}, which is no single series: use `run()`")
        checked = [taken.check(f"series {name!r}", np.asarray(values)) for name, values in series.items()]
        pieces: list[tuple[NDArray[np.int64], Arrays]] = []
        done = 0
        for places in batches_by_length([len(values) for values in checked], padded=taken.lengths is not None):
            on_progress(f"{done} of {len(checked)} series")
            pieces.append((places, self.run(taken.feeds([checked[place] for place in places]))))
            done += len(places)
        return {
            info.name: taken.in_order(info, [(places, arrays[info.name]) for places, arrays in pieces])
            for info in infos
        }

    def _answer(self, outputs: Arrays) -> NDArray[Any]:
        if len(outputs) != 1:
            raise InputError(f"the model gives {', '.join(outputs)}, not one output: use `outputs()`")
        (output,) = outputs.values()
        if self.class_names:
            return class_probabilities(output, given_as=self.bundle.manifest.classes_given_as)
        return output.astype(np.float64) if self.bundle.manifest.metric else output

    def _prediction(self, name: str, row: NDArray[Any], length: int) -> Prediction:
        if self._per_step:
            row = row[:length]
        if not self.class_names:
            return Prediction(name=name, values=row.tolist())
        if self._per_step:
            return Prediction(name=name, steps=[self.class_names[i] for i in row.argmax(axis=1)])
        return Prediction(name=name, class_name=self.class_names[int(np.argmax(row))], probabilities=row.tolist())


def load(path: str | Path, runtime: str | None = None) -> Predictor:
    """Return a predictor for the bundle at `path`: its plan, or with a `runtime` named the baseline in it.

    Warns:
        RnnexportWarning: The plan was made for another export, machine or other versions, or cannot run here.

    Raises:
        BundleError: The bundle is missing or damaged.
        RuntimeUnavailableError: The runtime named does not work on this machine.
    """
    return Predictor(load_bundle(Path(path)), runtime)


def class_probabilities(
    outputs: NDArray[Any], given_as: Literal["logits", "probabilities"] = "logits"
) -> NDArray[np.float64]:
    """Softmax over [..., classes]; for a single logit, the sigmoid and its complement: [1 - p, p]."""
    wide = outputs.astype(np.float64)
    if given_as == "probabilities":
        return np.concatenate([1 - wide, wide], axis=-1) if wide.shape[-1] == 1 else wide
    if wide.shape[-1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=-1)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def _load(model: Path, definition: Definition) -> Session:
    return get_engine(definition.engine).load(model, definition)


def _load_plan(bundle: Bundle, kind: GraphKind) -> tuple[Plan, Session] | tuple[None, None]:
    """The plan and its session, where there is one that can run here; says what is not as it should be."""
    again = f"run: rnnexport tune {bundle.path}"
    try:
        plan = read_plan(bundle, kind)
        if plan is None:
            return None, None
        session = _load(bundle.path / plan.graph, plan.definition)
    except BundleError as exc:
        _warn(f"the baseline runs: {exc}")
        return None, None
    except (EngineError, RuntimeUnavailableError) as exc:
        _warn(f"the baseline runs: the plan cannot run here: {exc}; {again}")
        return None, None
    if fault := _fault_here(bundle, kind, plan, session):
        session.close()
        _warn(f"the baseline runs: {fault}; {again}")
        return None, None
    if differences := differences_from_here(plan):
        _warn(
            f"the plan of {bundle.path} was made elsewhere and may not be the fastest here: "
            f"{'; '.join(differences)}; {again}"
        )
    return plan, session


def _fault_here(bundle: Bundle, kind: GraphKind, plan: Plan, session: Session) -> str | None:
    """Judge a lossy plan again where the CPU has other instructions than that on which it was tuned."""
    judgement = plan.tuned.judgement
    if judgement is None or not has_other_instructions(plan):
        return None
    try:
        feeds, expected = read_calls(bundle, kind, judgement)
        outputs = session.run(feeds)
    except (BundleError, EngineError) as exc:
        return f"the plan cannot be judged on this CPU: {exc}"
    error = max(largest_difference(outputs[name], array) for name, array in expected.items())
    if error <= judgement.limit:
        return None
    there = f"{judgement.error:.2g} on {plan.tuned.machine.get('cpu')}"
    return f"the plan of {bundle.path} errs by {error:.2g} on this CPU ({there}; at most {judgement.limit:.2g})"


def _warn(message: str) -> None:
    warnings.warn(message, RnnexportWarning, stacklevel=5)
