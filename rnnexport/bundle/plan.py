"""The tuned choice for one bundle on one machine: the runtime, the graph that it runs, and what both were chosen for.

1. `plan.toml` is a runtime definition with two keys more: `graph`, a file of the bundle, and the table `tuned`.
2. A plan for the step graph stands beside it as `plan-step.toml`.
3. A plan of another export, or whose graph was changed, is not used. One made on another machine or with other versions
   may not be the fastest: it is used, and that is said.
4. What rounded weights cost depends on the CPU's instructions. A lossy plan therefore keeps a call that it was judged
   on, as `plan-calls.npz`, so that it can be judged again on a CPU with others.
"""

from __future__ import annotations

import hashlib
import io
import tomllib
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.purpose import Purpose
from rnnexport.bundle.store import sha256_of
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import BundleError, InputError
from rnnexport.files.arrays import read_npz
from rnnexport.files.regular_files import read_regular
from rnnexport.versions import machine, tool_versions

GraphKind = Literal["sequence", "step"]
_FILES: dict[GraphKind, str] = {"sequence": "plan", "step": "plan-step"}
_JUDGED = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino")
"""Tools whose versions decide what is fastest."""


class Judgement(BaseModel):
    """What a lossy plan was found to cost on the calls that are kept, and what it may cost on another CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: float
    """Largest |actual - float64 reference|."""
    limit: float
    """The budget's `max-error`, else twice `error`: a metric cannot be told by one call, a stream not by one chunk."""
    calls_sha256: str


class Tuned(BaseModel):
    """What a plan was made for and with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Purpose
    budget: str
    """As it was asked for, such as `max-error=1e-3`."""
    form: str
    """How the recurrent layers are written, such as `scan, int8 by matmulnbits`."""
    batch_size: int
    time_steps: int
    manifest_sha256: str
    graph_sha256: str
    machine: dict[str, str]
    versions: dict[str, str]
    judgement: Judgement | None = None
    """`None` for a plan in float32, which errs alike on every CPU."""


class Plan(BaseModel):
    """A runtime definition, and the graph of the bundle that it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: str
    """The file in the bundle, such as `plan.onnx`; `model.onnx` where the baseline is the best."""
    definition: Definition
    tuned: Tuned


def graph_name(kind: GraphKind) -> str:
    """The file in which `tune` keeps a graph of its own."""
    return f"{_FILES[kind]}.onnx"


def plan_name(kind: GraphKind) -> str:
    """The file in which `tune` keeps the plan."""
    return f"{_FILES[kind]}.toml"


def calls_name(kind: GraphKind) -> str:
    """The file in which `tune` keeps the calls that a lossy plan was judged on."""
    return f"{_FILES[kind]}-calls.npz"


def write_calls(bundle: Bundle, kind: GraphKind, feeds: Feeds, expected: Feeds) -> str:
    """Keep a call with its float64 answers, and return the file's SHA-256.

    Raises:
        BundleError: Writing failed.
    """
    file = io.BytesIO()
    named: dict[str, Any] = {f"input/{name}": array for name, array in feeds.items()}
    np.savez_compressed(file, **named | {f"output/{name}": array for name, array in expected.items()})
    bundle.write_file(calls_name(kind), file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()


def read_calls(bundle: Bundle, kind: GraphKind, judgement: Judgement) -> tuple[Feeds, Feeds]:
    """Return the call that was kept, and its float64 answers.

    Raises:
        BundleError: It is missing, or was changed.
    """
    path = bundle.path / calls_name(kind)
    changed = f"{path} is missing or was changed; run: rnnexport tune {bundle.path}"
    try:
        found, arrays = sha256_of(path), read_npz(path)
    except (OSError, InputError) as exc:
        raise BundleError(changed) from exc
    if found != judgement.calls_sha256:
        raise BundleError(changed)
    feeds, expected = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in ("input/", "output/")
    )
    return feeds, expected


def write_plan(bundle: Bundle, kind: GraphKind, plan: Plan) -> None:
    """Replace the bundle's plan atomically; its graph must be in place.

    Raises:
        BundleError: Writing failed.
    """
    definition = plan.definition.model_dump(exclude={"name"})
    document = {"graph": plan.graph, **definition, "tuned": plan.tuned.model_dump(exclude_none=True)}
    bundle.write_file(plan_name(kind), tomli_w.dumps(document).encode())


def read_plan(bundle: Bundle, kind: GraphKind) -> Plan | None:
    """Return the bundle's plan, or `None` where it has none.

    Raises:
        BundleError: The plan is damaged, belongs to another export, or its graph was changed; all say what to do.
    """
    path = bundle.path / plan_name(kind)
    again = f"run: rnnexport tune {bundle.path}"
    try:
        document: dict[str, Any] = tomllib.loads(read_regular(path).decode("utf-8"))
        graph, tuned = document.pop("graph"), document.pop("tuned")
        plan = Plan(graph=graph, definition=Definition(name=path.stem, **document), tuned=Tuned.model_validate(tuned))
        get_engine(plan.definition.engine).check_options(plan.definition)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise BundleError(f"{path} cannot be read: {exc.strerror}; {again}") from exc
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, InputError) as exc:
        raise BundleError(f"{path} is damaged: {_reason(exc)}; {again}") from exc
    if plan.tuned.manifest_sha256 != bundle.manifest_sha256:
        raise BundleError(f"{path} was made for an earlier export of this bundle; {again}")
    if len(PurePosixPath(graph).parts) != 1 or not (bundle.path / graph).is_file():
        raise BundleError(f"{path} runs {graph!r}, which is not in the bundle; {again}")
    if sha256_of(bundle.path / graph) != plan.tuned.graph_sha256:
        raise BundleError(f"{bundle.path / graph} was changed after {path.name} was made; {again}")
    return plan


def _reason(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        first = exc.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"key {exc} is missing" if isinstance(exc, KeyError) else str(exc).splitlines()[0]


def has_other_instructions(plan: Plan) -> bool:
    """Whether the plan was judged on a CPU with other instructions than this one has."""
    return plan.tuned.machine.get("features") != machine()["features"]


def differences_from_here(plan: Plan) -> list[str]:
    """Say what differs between where the plan was made and here: the machine, and the versions that matter."""
    here, then = machine(), plan.tuned.machine
    found = [f"{key} was {then.get(key)!r}, here {here[key]!r}" for key in here if then.get(key) != here[key]]
    versions = tool_versions()
    for tool in _JUDGED:
        was, now = plan.tuned.versions.get(tool), versions.get(tool)
        if was != now:
            found.append(f"{tool} was {was or 'missing'}, here {now or 'missing'}")
    return found
