"""From a trained model to a bundle: capture, make the lengths exact, and write all that a bundle holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnexport.bundle import Bundle, Manifest, Source, TensorInfo, Tolerance, load_bundle, seal, write_bundle
from rnnexport.model_card import model_card
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    import onnx_ir

    from rnnexport.models import ModelDescription, SequenceClassifier

EXPORTED = Path("exported")
DEFAULT_CELLS = ("lstm", "gru")
TOLERANCES = {
    "float32": Tolerance(atol=1e-5, rtol=1.3e-6),
    "float16": Tolerance(atol=5e-3, rtol=5e-3),
    "bfloat16": Tolerance(atol=2.5e-1, rtol=5e-2),
}
"""float32: that of torch.testing.assert_close. The others: a few units in the last place of logits up to 10."""


def newest_checkpoints(cell: str | None = None) -> list[Path]:
    """Return the newest checkpoint of `cell`, or of both the LSTM and the GRU.

    Raises:
        CheckpointError: There is none; the message says which command makes one.
    """
    from rnnexport.training import find_newest_checkpoint

    return [find_newest_checkpoint(each) for each in ([cell] if cell else DEFAULT_CELLS)]


def export(checkpoint: str | Path, out: str | Path | None = None, *, opset_version: int | None = None) -> Bundle:
    """Write the checkpoint folder of a training as a bundle at `out` (default: `exported/CELL`).

    Raises:
        CheckpointError: The checkpoint is missing or damaged.
        BundleError: `out` cannot be written.
        InputError: The operator set version is out of range.
    """
    from rnnexport.capture import DEFAULT_OPSET, capture_plain
    from rnnexport.models import load_description, load_model
    from rnnexport.passes.lengths import ExactLengths

    source = Path(checkpoint)
    description = load_description(source / "model.json")
    model = load_model(source / "model.json", source / "model.safetensors")
    target = Path(out) if out is not None else EXPORTED / description.config.cell
    manifest = _manifest(target.name, description)
    graph = capture_plain(model, opset_version=opset_version or DEFAULT_OPSET).model
    ExactLengths()(graph)
    with write_bundle(target) as folder:
        _save_graph(graph, manifest, folder / "model.onnx")
        shutil.copyfile(source / "model.json", folder / "model.json")
        shutil.copyfile(source / "model.safetensors", folder / "weights.safetensors")
        shutil.copyfile(source / "evaluation.npz", folder / "evaluation.npz")
        _write_test_data(model, manifest, folder / "test_data_set_0")
        (folder / "README.md").write_text(model_card(manifest, _describe(description)), encoding="utf-8")
        seal(folder, manifest)
    return load_bundle(target)


def _manifest(name: str, description: ModelDescription) -> Manifest:
    config = description.config
    return Manifest(
        name=name,
        source=Source(kind="builtin", name=f"{description.architecture} ({config.cell})"),
        inputs=(
            TensorInfo(name="x", dtype="float32", shape=("batch", "time", config.input_size)),
            TensorInfo(name="lengths", dtype="int64", shape=("batch",), role="lengths"),
        ),
        outputs=(TensorInfo(name="logits", dtype="float32", shape=("batch", config.num_outputs), role="output"),),
        task=description.task,
        metric=description.metric,
        class_names=description.class_names,
        tolerances=TOLERANCES,
        versions=tool_versions(),
        files={},
    )


def _save_graph(graph: onnx_ir.Model, manifest: Manifest, path: Path) -> None:
    import onnx
    import onnx_ir

    graph.metadata_props["rnnexport.source"] = manifest.source.name
    for info in manifest.inputs:
        graph.metadata_props[f"rnnexport.role.{info.name}"] = info.role
    onnx_ir.save(graph, path)
    onnx.checker.check_model(path, full_check=True)


def _write_test_data(model: SequenceClassifier, manifest: Manifest, folder: Path) -> None:
    """One call in the layout of the ONNX backend tests: input_0.pb …, output_0.pb, as TensorProto."""
    import torch
    from onnx import numpy_helper

    x = np.random.default_rng(0).standard_normal((2, 20, model.config.input_size)).astype(np.float32)
    lengths = np.array([20, 13])
    with torch.inference_mode():
        logits = model.double()(torch.from_numpy(x).double(), torch.from_numpy(lengths)).float().numpy()
    folder.mkdir()
    for kind, infos, arrays in (("input", manifest.inputs, (x, lengths)), ("output", manifest.outputs, (logits,))):
        for number, (info, array) in enumerate(zip(infos, arrays, strict=True)):
            proto = numpy_helper.from_array(array, info.name)
            (folder / f"{kind}_{number}.pb").write_bytes(proto.SerializeToString())


def _describe(description: ModelDescription) -> str:
    config = description.config
    directions = "both directions" if config.bidirectional else "one direction"
    return (
        f"A `{config.cell}` of {config.num_layers} layer(s) and {config.hidden_size} units, {directions}, trained with "
        f"`rnnexport train` on the task `{description.task}`. The graph takes raw values: the scaling is part of it. "
        f"The output are logits of {len(description.class_names)} classes: {', '.join(description.class_names)}."
    )
