"""What a bundle says of itself: `manifest.json`, which lists every file with its SHA-256.

History of the schema
    1  first version
    2  each tensor names its axes of the batch and of time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rnnexport.files.lines import Line

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"


def _dtype(text: str) -> str:
    try:
        if np.dtype(text).kind in "biufc":
            return text
    except (TypeError, SyntaxError):
        pass
    raise ValueError(f"{text!r} is no type of numbers")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scale(_Strict):
    """Mean and standard deviation of the values that a model is made for, all one, or along one axis of the input."""

    mean: tuple[float, ...] = Field(min_length=1)
    deviation: tuple[Annotated[float, Field(gt=0)], ...]
    axis: int | None = None

    def fits(self, shape: Sequence[int | str]) -> bool:
        """Whether an input of this shape can have it."""
        size = 1 if self.axis is None else shape[self.axis] if self.axis in range(len(shape)) else None
        return len(self.mean) == len(self.deviation) == size

    def broadcast(self, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation as arrays that go with an input of this rank."""
        shape = [-1 if axis == self.axis else 1 for axis in range(rank)]
        return np.reshape(self.mean, shape), np.reshape(self.deviation, shape)


class TensorInfo(_Strict):
    """A graph input or output; a `str` in `shape` is a symbolic dimension."""

    name: Line
    dtype: Annotated[Line, AfterValidator(_dtype)]
    shape: tuple[Annotated[int, Field(ge=0, le=2**31)] | Line, ...]
    role: Literal["features", "lengths", "indices", "state", "output"] = "features"
    """`lengths` counts the time steps of each row; `indices` are integers below `upper_bound`."""
    upper_bound: int | None = Field(default=None, ge=1)
    counted_dimension: Line | None = None
    """For `lengths`: the symbolic dimension that it counts."""
    values: tuple[float, float] | None = None
    """The smallest and the largest value that the model takes, where whoever exported it said so."""
    scale: Scale | None = None
    """As the model's own first normalisation has it."""
    batch_axis: int | None = None
    """The axis of the rows that share a call, where it is dynamic and known."""
    time_axis: int | None = None
    """The axis of the time steps, likewise."""

    @model_validator(mode="after")
    def _axes_and_scale_fit(self) -> Self:
        axes = [axis for axis in (self.batch_axis, self.time_axis) if axis is not None]
        if len({*axes}) < len(axes) or any(a not in range(len(self.shape)) for a in axes):
            raise ValueError(f"the axes {axes} are none of {list(self.shape)}")
        if fixed := [axis for axis in axes if isinstance(self.shape[axis], int)]:
            raise ValueError(f"axis {fixed[0]} of {list(self.shape)} is of one size")
        if self.scale is not None and not self.scale.fits(self.shape):
            raise ValueError(f"the scale does not fit {list(self.shape)}")
        return self

    @property
    def batch_dimension(self) -> str:
        """The symbolic dimension of the batch; empty where it has none."""
        return "" if self.batch_axis is None else str(self.shape[self.batch_axis])

    @property
    def time_dimension(self) -> str:
        """The symbolic dimension of time; empty where it has none."""
        return "" if self.time_axis is None else str(self.shape[self.time_axis])


class Sizes(_Strict):
    """The sizes `minimum`, `minimum + step`, `minimum + 2 step` and so on."""

    minimum: int = Field(ge=1)
    step: int = Field(ge=1)


class Tolerance(_Strict):
    """An element passes at |actual - expected| <= atol + rtol * |expected|."""

    atol: float = Field(ge=0)
    rtol: float = Field(ge=0)


class Source(_Strict):
    """Where the graph came from, and so what can judge it."""

    kind: Literal["builtin", "module", "onnx", "keras"]
    """`builtin`: model.json and weights rebuild it; `module`: a user's code; `onnx`: a file without its source;
    `keras`: a file of Keras."""
    name: Line

    @property
    def description(self) -> str:
        """What it is, for a sentence."""
        kinds = {
            "builtin": "a model of rnnexport",
            "module": "a module of the user's",
            "onnx": "an ONNX file",
            "keras": "a Keras file",
        }
        return f"{kinds[self.kind]}, {self.name}"


class ReferenceCheck(_Strict):
    """What the reference of an ONNX file, its evaluation in float64, was held against."""

    held: int
    """Nodes that agree with ONNX Runtime, each run alone on the same inputs."""
    not_held: tuple[str, ...]
    """Operators of which some node could not be; those rest on onnx's own cases alone."""
    never_run: int = 0
    """Nodes in branches that no call takes."""
    outside: tuple[str, ...] = ()
    """Calls that were drawn and cannot be evaluated, each with the node that refuses it; they are not judged."""

    @property
    def summary(self) -> str:
        """One sentence for people."""
        rest = f"; not held, but right in onnx's own cases: {', '.join(self.not_held)}" if self.not_held else ""
        if self.never_run:
            rest += f"; not held: {self.never_run} in branches that no call takes"
        if self.outside:
            calls = f"{len(self.outside)} calls" if len(self.outside) > 1 else "a call"
            rest += f"; {calls} left out, which cannot be evaluated: {self.outside[0]}"
        nodes = "1 node" if self.held == 1 else f"{self.held} nodes"
        return f"reference: the file in float64; {nodes} held against ONNX Runtime one by one{rest}"


class StepGraphInfo(_Strict):
    """`step.onnx`: it takes a chunk of the series and the states, and gives the outputs and the new states."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...] = Field(min_length=1)

    @property
    def time_dimension(self) -> str:
        """The symbolic dimension that is cut into chunks."""
        return next((info.time_dimension for info in self.inputs if info.time_dimension), "")

    @property
    def batch_dimension(self) -> str:
        """The symbolic dimension of the streams that share a call; empty where the model takes one at a time."""
        return next((info.batch_dimension for info in self.inputs if info.batch_dimension), "")


class DecoderInfo(_Strict):
    """`decoder.onnx`: one step of a decoder that is fed its own output; `model.onnx` is its encoder.

    The first input is fed, with what is made of the first output: the number of the largest element of the last axis
    where the input holds integers, else the output itself. The other inputs are states, or stay the same in all steps;
    their first values are the outputs, or else the inputs, of the encoder that have their names.
    """

    inputs: tuple[TensorInfo, ...] = Field(min_length=1)
    outputs: tuple[TensorInfo, ...] = Field(min_length=1)
    state_pairs: tuple[tuple[Line, Line], ...] = ()
    """(input, output) that carry a state, such as ("hidden", "next_hidden")."""
    start_token: int | None = None
    """What is fed first where the input holds integers; else that is zeros."""
    stop_token: int | None = None
    """What ends a row, where one does."""

    @property
    def is_fed_tokens(self) -> bool:
        """Whether what is fed are the numbers of the largest elements, not the output itself."""
        return np.dtype(self.inputs[0].dtype).kind in "iu"


class Manifest(_Strict):
    """What a bundle says of itself."""

    schema_version: Literal[2] = 2
    name: Line
    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...] = Field(min_length=1)
    sizes: dict[Line, Sizes] = {}
    """The sizes of symbolic dimensions, where the model does not take every one."""
    runtimes: dict[Line, Line] = {}
    """By engine: `right`, or what the export found wrong with the sequence graph there; empty where none was asked."""
    state_pairs: tuple[tuple[Line, Line], ...] = ()
    """(input, output) of the step graph that carry a recurrent state, such as ("h_0", "h_n")."""
    step: StepGraphInfo | None = None
    decoder: DecoderInfo | None = None
    """Where the model is an encoder with a decoder that is fed its own output."""
    reference: ReferenceCheck | None = None
    """Of an ONNX file."""
    task: Line | None = None
    metric: Line | None = None
    class_names: tuple[str, ...] = ()
    classes_given_as: Literal["logits", "probabilities"] = "logits"
    """What the columns that stand for classes hold."""
    vocabulary: tuple[str, ...] = ()
    """What each token of the input stands for."""
    tolerances: dict[Line, Tolerance]
    """By precision, such as `float32`."""
    versions: dict[Line, Line]
    files: dict[Line, Line]
    """Path below the bundle, with `/`, to SHA-256."""
