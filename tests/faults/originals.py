"""Makes the whole files that are damaged later."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import rnnexport
from rnnexport.benchmark.benchmark import bench
from rnnexport.bundle.bundle import Bundle, load_bundle, reference_bundles
from rnnexport.bundle.plan import Plan, Tuned, write_plan
from rnnexport.bundle.store import sha256_of
from rnnexport.engines.contract import Definition
from rnnexport.optimizing.optimize import optimize
from rnnexport.optimizing.options import Rewrite
from rnnexport.parity.verify import verify
from rnnexport.versions import machine, tool_versions
from tests.evidence import EVIDENCE
from tests.faults.fault_inputs import Originals

KERAS_MODELS = Path(__file__).parents[1] / "keras_files" / "models.tar.xz"


def _plan(bundle: Bundle) -> Plan:
    tuned = Tuned(
        purpose="latency",
        budget="float32",
        form="as exported",
        batch_size=1,
        time_steps=25,
        manifest_sha256=bundle.manifest_sha256,
        graph_sha256=sha256_of(bundle.model_path),
        machine=machine(),
        versions=tool_versions(),
    )
    definition = Definition(name="plan", engine="onnxruntime", precision="float32", threads=1)
    return Plan(graph="model.onnx", definition=definition, tuned=tuned)


def make_originals(folder: Path, streaming: Path | None = None) -> Originals:
    """Write bundles, graphs and results below `folder`; given a bundle with a step graph, what `QUICK` needs alone."""
    quick = streaming is not None
    folder.mkdir(parents=True, exist_ok=True)
    lstm, gru = reference_bundles()
    if not (folder / "gru").exists():
        shutil.copytree(gru, folder / "gru", ignore=EVIDENCE)
    if streaming is None:
        streaming = folder / "streaming"
        if not streaming.exists():
            checkpoint = folder / "checkpoint"
            checkpoint.mkdir(exist_ok=True)
            for source, name in (
                ("weights.safetensors", "model.safetensors"),
                ("model.json",) * 2,
                ("evaluation.npz",) * 2,
            ):
                shutil.copyfile(gru / source, checkpoint / name)
            rnnexport.export(checkpoint, streaming, streaming=True)
    planned = folder / "planned"
    if not planned.exists():
        shutil.copytree(gru, planned, ignore=EVIDENCE)
        write_plan(bundle := load_bundle(planned), "sequence", _plan(bundle))
    imported = folder / "imported"
    if not quick and not imported.exists():
        rnnexport.export(gru / "model.onnx", imported)
    scan = folder / "scan.onnx"
    if not scan.exists():
        optimize(gru / "model.onnx", scan, Rewrite(lowering="scan"))
    if not (folder / "gru" / "parity.json").exists():
        verify(folder / "gru", ["ort-cpu"], grid="quick")
    if not quick and not (folder / "bench.json").exists():
        report = bench([folder / "gru"], ["ort-cpu"], seconds=0.01, repetitions=1)
        (folder / "bench.json").write_text(report.model_dump_json())
    graphs = {"gru": gru / "model.onnx", "lstm": lstm / "model.onnx", "step": streaming / "step.onnx", "scan": scan}
    bundles = {"reference": folder / "gru", "streaming": streaming, "imported": imported, "planned": planned}
    with tarfile.open(KERAS_MODELS) as archive:
        keras = {
            member.name: file.read()
            for member in archive
            if member.name.endswith((".keras", ".h5")) and (file := archive.extractfile(member)) is not None
        }
    evidence = [folder / "gru" / "parity.json", folder / "gru" / "parity_outputs.npz", folder / "bench.json"]
    return Originals(
        {name: path.read_bytes() for name, path in graphs.items()},
        {name: path for name, path in bundles.items() if path.exists()},
        {path.name: path.read_bytes() for path in evidence if path.exists()},
        keras,
    )
