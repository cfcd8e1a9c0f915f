"""What a bundle says of itself: `manifest.json`, which lists every file with its SHA-256.

History of the schema
    1  first version
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rnnexport.errors import BundleError
from rnnexport.files.json_files import parse_json

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds a character that cannot be printed")
    return text


def _dtype(text: str) -> str:
    try:
        if np.dtype(text).kind in "biufc":
            return text
    except (TypeError, SyntaxError):
        pass
    raise ValueError(f"{text!r} is no type of numbers")


Line = Annotated[str, AfterValidator(_one_line)]
"""Text from a file that is printed in messages and tables."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorInfo(_Strict):
    """A graph input or output; a `str` in `shape` is a symbolic dimension."""

    name: Line
    dtype: Annotated[Line, AfterValidator(_dtype)]
    shape: tuple[Annotated[int, Field(ge=0, le=2**31)] | Line, ...]
    role: Literal["features", "lengths", "indices", "state", "output"] = "features"
    """`lengths` counts the time steps of each row; `indices` are integers below `upper_bound`."""
    upper_bound: int | None = Field(default=None, ge=1)
    time_axis: Line | None = None
    """For `lengths`: the symbolic dimension that it counts."""
    values: tuple[float, float] | None = None
    """The smallest and the largest value that the model takes, where whoever exported it said so."""


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

    @property
    def summary(self) -> str:
        """One sentence for people."""
        rest = f"; not held, but right in onnx's own cases: {', '.join(self.not_held)}" if self.not_held else ""
        return f"reference: the file in float64; {self.held} nodes held against ONNX Runtime one by one{rest}"


class StepGraphInfo(_Strict):
    """`step.onnx`: it takes a chunk of the series and the states, and gives the outputs and the new states."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...] = Field(min_length=1)
    time_dimension: Line
    """The symbolic dimension that is cut into chunks."""
    batch_dimension: Line
    """The symbolic dimension of the streams that share a call; empty where the model takes one at a time."""


class Manifest(_Strict):
    """What a bundle says of itself."""

    schema_version: Literal[1] = 1
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
    reference: ReferenceCheck | None = None
    """Of an ONNX file."""
    task: Line | None = None
    metric: Line | None = None
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    """What each token of the input stands for."""
    tolerances: dict[Line, Tolerance]
    """By precision, such as `float32`."""
    versions: dict[Line, Line]
    files: dict[Line, Line]
    """Path below the bundle, with `/`, to SHA-256."""


def parse_manifest(path: Path, content: bytes) -> Manifest:
    """Read the manifest of the bundle at `path`.

    Raises:
        BundleError: It is damaged or of another schema version.
    """
    try:
        document = parse_json(content)
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError) as exc:
        raise BundleError(f"{path / MANIFEST} is damaged; export again") from exc
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path / MANIFEST} is schema {version}, this version reads {SCHEMA_VERSION}; "
            "export again or upgrade rnnexport"
        )
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / MANIFEST} is damaged at {where!r}: {first['msg']}; export again") from exc
    for problem in _contradictions(manifest):
        raise BundleError(f"{path / MANIFEST} contradicts itself: {problem}; export again")
    return manifest


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield what no export writes."""
    for kind, infos in (("input", manifest.inputs), ("output", manifest.outputs)):
        yield from _doubles(kind, infos)
    needed = ["model.onnx", *(["step.onnx"] if manifest.step else [])]
    needed += {"builtin": ["model.json", "weights.safetensors"]}.get(manifest.source.kind, ["parity_cases.npz"])
    for name in needed:
        if name not in manifest.files:
            yield f"{name!r} is not among its files"
    if manifest.class_names and all(_sizes_of_last(info) - {1, len(manifest.class_names)} for info in manifest.outputs):
        yield f"it names {len(manifest.class_names)} classes, and no output has as many columns"
    step = manifest.step
    if step is None:
        if manifest.state_pairs:
            yield "it pairs states without a step graph"
        return
    for kind, infos in (("step input", step.inputs), ("step output", step.outputs)):
        yield from _doubles(kind, infos)
    ends = {info.name for info in step.inputs}, {info.name for info in step.outputs}
    for pair in manifest.state_pairs:
        if pair[0] not in ends[0] or pair[1] not in ends[1]:
            yield f"the step graph has no states {pair[0]!r} → {pair[1]!r}"
    if not any(step.time_dimension in info.shape for info in step.inputs):
        yield f"no input of the step graph has the time dimension {step.time_dimension!r}"


def _doubles(kind: str, infos: Sequence[TensorInfo]) -> Iterator[str]:
    names = [info.name for info in infos]
    yield from (f"{kind} {name!r} is there twice" for name in names if names.count(name) > 1)


def _sizes_of_last(info: TensorInfo) -> set[int]:
    """The number of columns, where it is known."""
    return {size for size in info.shape[-1:] if isinstance(size, int)}
