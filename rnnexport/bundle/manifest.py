"""What a bundle says of itself: `manifest.json`, which lists every file with its SHA-256.

History of the schema
    1  first version
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rnnexport.errors import BundleError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorInfo(_Strict):
    """A graph input or output; a `str` in `shape` is a symbolic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    role: Literal["features", "lengths", "indices", "state", "output"] = "features"
    """`lengths` counts the time steps of each row; `indices` are integers below `upper_bound`."""
    upper_bound: int | None = None
    time_axis: str | None = None
    """For `lengths`: the symbolic dimension that it counts."""


class Tolerance(_Strict):
    """An element passes at |actual - expected| <= atol + rtol * |expected|."""

    atol: float = Field(ge=0)
    rtol: float = Field(ge=0)


class Source(_Strict):
    """Where the graph came from, and so what can judge it."""

    kind: Literal["builtin", "module", "onnx", "keras"]
    """`builtin`: model.json and weights rebuild it; `module`: a user's code; `onnx`: a file without its source;
    `keras`: a file of Keras."""
    name: str

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
    outputs: tuple[TensorInfo, ...]
    time_dimension: str
    """The symbolic dimension that is cut into chunks."""
    batch_dimension: str
    """The symbolic dimension of the streams that share a call; empty where the model takes one at a time."""


class Manifest(_Strict):
    """What a bundle says of itself."""

    schema_version: Literal[1] = 1
    name: str
    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    state_pairs: tuple[tuple[str, str], ...] = ()
    """(input, output) of the step graph that carry a recurrent state, such as ("h_0", "h_n")."""
    step: StepGraphInfo | None = None
    reference: ReferenceCheck | None = None
    """Of an ONNX file."""
    task: str | None = None
    metric: str | None = None
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    """What each token of the input stands for."""
    tolerances: dict[str, Tolerance]
    """By precision, such as `float32`."""
    versions: dict[str, str]
    files: dict[str, str]
    """Path below the bundle, with `/`, to SHA-256."""


def parse_manifest(path: Path, content: bytes) -> Manifest:
    """Read the manifest of the bundle at `path`.

    Raises:
        BundleError: It is damaged or of another schema version.
    """
    try:
        document = json.loads(content)
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError) as exc:
        raise BundleError(f"{path / MANIFEST} is damaged; export again") from exc
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path / MANIFEST} is schema {version}, this version reads {SCHEMA_VERSION}; "
            "export again or upgrade rnnexport"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / MANIFEST} is damaged at {where!r}: {first['msg']}; export again") from exc
