"""What a model was: a bundle that an earlier check kept, which the model of today is held against.

The two are measured side by side in one run, so that a baseline holds on every machine.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from onnx import numpy_helper

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.store import write_bundle
from rnnexport.checking.configuration import BaselineSettings
from rnnexport.checking.results import CheckedModel, OutcomeKind
from rnnexport.checking.steps import model_size
from rnnexport.data.metrics import ERRORS
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.files.json_files import read_json
from rnnexport.onnx_files.reading import external_files
from rnnexport.parity.compare import largest_difference, size_of
from rnnexport.parity.evidence import REPORT
from rnnexport.runtime.worker import infer

SAME = 1e-4
"""Relative to the output's size: far above the rounding of float32, far below what another weight does."""
_RUNTIME = Definition(name="ort-cpu", engine="onnxruntime", precision="float32", threads=1)


def keep_as_baseline(bundle: Bundle, target: Path, found: CheckedModel) -> None:
    """Copy a model that nothing was found wrong with, whole or not at all.

    Raises:
        BundleError: It cannot be written there.
    """
    if found.of_kind("failed"):
        found.add("baseline", "kept", "failed", "what fails is not kept as a baseline")
        return
    with write_bundle(target) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
    found.add("baseline", "kept", "passed", f"kept in {target}")


def open_baseline(path: Path, found: CheckedModel) -> Bundle | None:
    """Return the baseline, or `None` where there is none yet.

    Raises:
        BundleError: It is damaged.
    """
    if path.exists():
        return load_bundle(path)
    found.add(
        "baseline", "baseline", "not judged", f"{path} does not exist; make it with: rnnexport check --write-baseline"
    )
    return None


def same_graph(bundle: Bundle, baseline: Bundle) -> bool:
    """Whether both graphs are the same, byte for byte, so that there is nothing to compare."""

    def graphs(one: Bundle) -> dict[str, str]:
        names = [one.model_path.name, *external_files(one.model_path)]
        return {name: one.manifest.files[name] for name in names}

    return graphs(bundle) == graphs(baseline)


def baseline_step(bundle: Bundle, baseline: Bundle, settings: BaselineSettings, found: CheckedModel) -> None:
    """Say what changed since the baseline in what the model takes, answers and weighs."""
    if same_graph(bundle, baseline):
        found.add("baseline", "graph", "passed", "the same as the baseline's, byte for byte")
    elif changes := _interface_changes(bundle, baseline):
        found.add("baseline", "interface", "failed", "; ".join(changes))
    else:
        if settings.same_answers:
            _hold_answers(bundle, baseline, found)
        before, after = model_size(baseline), model_size(bundle)
        growth = after / before - 1
        kind: OutcomeKind = "failed" if growth > settings.size_growth else "passed"
        said = f"{after:,} bytes, before {before:,}: {growth:+.1%}"
        found.add(
            "baseline", "size", kind, said + (f", more than {settings.size_growth:+.1%}" if kind == "failed" else "")
        )
    if settings.metric_drop is not None:
        _hold_metric(baseline, settings.metric_drop, found)


def _interface_changes(bundle: Bundle, baseline: Bundle) -> list[str]:
    """Say which inputs and outputs are not what they were."""
    changes = []
    for kind in ("inputs", "outputs"):
        before, after = (
            {info.name: f"{info.dtype} [{', '.join(map(str, info.shape))}]" for info in getattr(one.manifest, kind)}
            for one in (baseline, bundle)
        )
        changes += [
            f"{kind[:-1]} {name!r} was {before.get(name, 'not there')}, is {after.get(name, 'not there')}"
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name)
        ]
    return changes


def _hold_answers(bundle: Bundle, baseline: Bundle, found: CheckedModel) -> None:
    """Ask the model what the baseline keeps an answer to, which is one call."""
    feeds, expected = (_test_data(baseline, kind) for kind in ("input", "output"))
    (result,) = infer(bundle.model_path, _RUNTIME, [feeds])
    if result.failure is not None:
        found.add("baseline", "answers", "failed", f"the baseline's call fails: {result.failure.message}")
        return
    apart = {name: largest_difference(result.outputs[name], array) / size_of(array) for name, array in expected.items()}
    worst = max(apart, key=lambda name: apart[name])
    kind: OutcomeKind = "failed" if apart[worst] > SAME else "passed"
    said = f"output {worst!r} differs from the baseline's by {apart[worst]:.2g} of its size"
    found.add("baseline", "answers", kind, said + (f", more than {SAME:g}" if kind == "failed" else ""))


def _test_data(bundle: Bundle, kind: str) -> Feeds:
    paths = sorted((bundle.path / "test_data_set_0").glob(f"{kind}_*.pb"))
    tensors = [onnx.TensorProto.FromString(path.read_bytes()) for path in paths]
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def _hold_metric(baseline: Bundle, most: float, found: CheckedModel) -> None:
    """Compare the task's metric with the one that the baseline was kept with."""
    path = baseline.path / REPORT
    known = read_json(path) if path.exists() else {}
    before, metric = known.get("reference_metric"), known.get("metric")
    after = found.parity.reference_metric if found.parity else None
    if before is None or after is None:
        found.add("baseline", "metric", "not judged", "the model or its baseline has no metric of a task")
        return
    drop = after - before if metric in ERRORS else before - after
    kind: OutcomeKind = "failed" if drop > most else "passed"
    said = f"{metric} {after:.4g}, before {before:.4g}"
    found.add("baseline", "metric", kind, said + (f": worse by more than {most:g}" if kind == "failed" else ""))
