"""`rnnexport.toml`: which models `rnnexport check` judges, and what they have to hold.

The keys that are arguments of a public function, such as `time_steps`, have its bounds and meaning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_doc import Doc
from annotated_types import Ge
from pydantic import BaseModel, ByteSize, ConfigDict

from rnnexport.arguments.options import Runtimes, Seed
from rnnexport.benchmark.options import Repetitions, Seconds, TimeLimit
from rnnexport.errors import InputError, UnknownNameError
from rnnexport.exporting.options import Lengths
from rnnexport.files.toml_files import read_settings
from rnnexport.linting.rule import Severity
from rnnexport.parity.options import GridName

CONFIGURATION = Path("rnnexport.toml")
Step = Literal["export", "lint", "verify", "bench", "limits", "baseline"]
Share = Annotated[float, Ge(0)]
Milliseconds = Annotated[float, Ge(0)]
Size = Annotated[int, Ge(1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LintSettings(_Settings):
    """What lint may find."""

    fail_on: Severity = "warning"
    """The least severity of a finding that makes the verdict bad."""
    ignore: Sequence[str] = ()
    """Rules whose findings do not count, such as `fixed-batch`."""


class VerifySettings(_Settings):
    """Where and how the models have to be right."""

    runtimes: Runtimes = ()
    grid: Annotated[GridName, Doc("How many calls are made.")] = "default"
    seed: Seed = 0
    time_limit_seconds: TimeLimit = 600.0


class BenchSettings(_Settings):
    """What is measured."""

    runtimes: Runtimes = ()
    batch_sizes: Annotated[Sequence[Size], Doc("Rows per call. Default: 1, or what the model fixes.")] = ()
    time_steps: Annotated[Sequence[Size], Doc("Steps per series. Default: 25, or what the model fixes.")] = ()
    seconds: Seconds = 3.0
    repetitions: Repetitions = 2
    seed: Seed = 0
    time_limit_seconds: TimeLimit = 600.0


class LimitSettings(_Settings):
    """What a model must not exceed in any runtime that is measured."""

    model_size: ByteSize | None = None
    """Of the graph with its weights, in bytes, or like `"2 MB"`."""
    latency_ms: Milliseconds | None = None
    """Of the median call, in milliseconds, at each shape that is measured."""
    first_call_ms: Milliseconds | None = None
    """Of the first call in a fresh process, in milliseconds."""
    memory: ByteSize | None = None
    """Of a runtime's process at its peak, the library included, in bytes, or like `"1 GiB"`."""


class BaselineSettings(_Settings):
    """What may change since the baseline, which is the models as `--write-baseline` left them."""

    path: str = "rnnexport-baseline"
    """The folder that holds the baseline: one bundle for each model."""
    same_answers: bool = True
    """Whether the model has to give what it gave; say false where models are trained anew."""
    fail_over: Share = 0.1
    """The share by which a runtime may be slower."""
    size_growth: Share = 0.05
    """The share by which the model may be larger."""
    metric_drop: Share | None = None
    """By how much the task's metric may be worse, in its own unit: 0.01 is one point of accuracy."""


class ModelSettings(_Settings):
    """One model: a bundle, or what `rnnexport export` makes one of."""

    source: str
    """A bundle, an ONNX file, a Keras file, a checkpoint, or a module as `my_package.models:TaggerNet`."""
    name: str | None = None
    """What the model is called. Default: the name of the folder, file or class."""
    out: str | None = None
    """Where the export goes. Default: `exported/NAME`."""
    weights: str | None = None
    """The weights of a module: a .safetensors file, or a state dict or checkpoint in .pt, .pth or .ckpt."""
    kwargs: dict[str, Any] = {}
    """What the class or function of a module is called with."""
    inputs: Sequence[str] = ()
    """Inputs of a module or a TorchScript file, such as `tokens:int64[batch,time]`."""
    sample: str | None = None
    """Real inputs of an ONNX file: a .npz with one array for each."""
    lengths: Lengths = "exact"
    """How padded batches stay right."""
    opset_version: int | None = None
    """ONNX operator set version."""
    streaming: bool = False
    """Whether the step graph is written and judged, too."""
    limits: LimitSettings | None = None
    """In place of those of all models."""


class Configuration(_Settings):
    """What `rnnexport check` judges, and by which rules."""

    models: Sequence[ModelSettings] = ()
    """The models that are judged where the command line names none."""
    skip: Sequence[Literal["lint", "verify", "bench", "baseline"]] = ()
    """Steps that are left out."""
    lint: LintSettings = LintSettings()
    verify: VerifySettings = VerifySettings()
    bench: BenchSettings = BenchSettings()
    limits: LimitSettings = LimitSettings()
    baseline: BaselineSettings = BaselineSettings()


def read_configuration(path: Path | None) -> tuple[Configuration, Path]:
    """Return the configuration and the folder that its paths start from, which is the file's.

    Without a path: that of `rnnexport.toml` in the working directory where there is one, else the defaults.

    Raises:
        InputError: The file is missing, is no TOML, or has a key that is unknown or wrong; two models have one name.
    """
    from rnnexport.linting.rules import all_rules

    if path is None and not CONFIGURATION.exists():
        return Configuration(), Path()
    path = path or CONFIGURATION
    found = read_settings(Configuration, path)
    known = [rule.name for rule in all_rules()]
    if wrong := [rule for rule in found.lint.ignore if rule not in known]:
        raise InputError(f"{path}: lint.ignore: {UnknownNameError('rule', wrong[0], known)}")
    if "bench" in found.skip and (timed := _timed_limits(found)):
        raise InputError(f"{path}: limits.{timed} needs what bench measures; take bench out of skip")
    return found, path.parent


def _timed_limits(configuration: Configuration) -> str | None:
    """Return a limit that only a measurement can hold."""
    limits = [configuration.limits, *(model.limits for model in configuration.models if model.limits is not None)]
    names = ("latency_ms", "first_call_ms", "memory")
    return next((name for each in limits for name in names if getattr(each, name) is not None), None)
