"""A checkpoint of `rnnexport train` as a bundle that can rebuild its own reference."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.bundle.bundle import Bundle, load_bundle, read_evaluation
from rnnexport.bundle.manifest import Manifest, Source
from rnnexport.bundle.store import write_bundle
from rnnexport.exporting.finishing import finish
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.writing import EXPORTED, TOLERANCES, write_test_data
from rnnexport.parity.grid import CaseShape, draw_cases
from rnnexport.parity.oracle import source_feeds
from rnnexport.versions import tool_versions

if TYPE_CHECKING:
    from rnnexport.models.classifier import ModelDescription, SequenceClassifier

TRAINING = "training.json"
"""What the training came to: settings, figures and learning curves."""
DEFAULT_CELLS = ("lstm", "gru")


def newest_checkpoints(cell: str | None = None) -> list[Path]:
    """Return the newest checkpoint of `cell`, or of both the LSTM and the GRU.

    Raises:
        CheckpointError: There is none; the message says which command makes one.
    """
    from rnnexport.training.checkpoints import find_newest_checkpoint

    return [find_newest_checkpoint(each) for each in ([cell] if cell else DEFAULT_CELLS)]


def export_checkpoint(source: Path, out: Path | None, options: ExportOptions) -> Bundle:
    """Write the checkpoint folder of a training as a bundle at `out` (default: `exported/CELL`).

    Raises:
        CheckpointError: The checkpoint is missing or damaged.
        ExportError: The model cannot be written as `options` ask.
        BundleError: `out` cannot be written.
        InputError: The operator set version is out of range.
    """
    from rnnexport.capture import DEFAULT_OPSET, capture_plain
    from rnnexport.models.classifier import load_description, load_model

    description = load_description(source / "model.json")
    model = load_model(source / "model.json", source / "model.safetensors")
    target = out or EXPORTED / description.config.cell
    captured = capture_plain(model, opset_version=options.opset_version or DEFAULT_OPSET)
    graphs = Graphs.make(captured.model, options)
    manifest = graphs.described(_manifest(target.name, description, graphs))
    if options.lengths != "none":  # without lengths the labelled series would need a call each
        read_evaluation(source / "evaluation.npz", manifest)
    with write_bundle(target) as folder:
        graphs.write(manifest, folder)
        shutil.copyfile(source / "model.json", folder / "model.json")
        shutil.copyfile(source / "model.safetensors", folder / "weights.safetensors")
        if (source / "metrics.json").is_file():
            shutil.copyfile(source / "metrics.json", folder / TRAINING)
        if options.lengths != "none":
            shutil.copyfile(source / "evaluation.npz", folder / "evaluation.npz")
        _write_example(model, manifest, folder / "test_data_set_0")
        finish(folder, manifest, _describe(description), sbom=options.sbom)
    return load_bundle(target)


def _manifest(name: str, description: ModelDescription, graphs: Graphs) -> Manifest:
    return Manifest(
        name=name,
        source=Source(kind="builtin", name=f"{description.architecture} ({description.config.cell})"),
        inputs=graphs.inputs,
        outputs=graphs.outputs,
        task=description.task,
        metric=description.metric,
        class_names=description.class_names,
        vocabulary=description.vocabulary,
        tolerances=TOLERANCES,
        versions=tool_versions(),
        files={},
    )


def _write_example(model: SequenceClassifier, manifest: Manifest, folder: Path) -> None:
    import torch

    (case,) = draw_cases(manifest.inputs, [], [CaseShape(2, 20)])
    x, lengths = (torch.from_numpy(array) for array in source_feeds(case.feeds).values())
    with torch.inference_mode():
        logits = model.double()(x.double() if x.is_floating_point() else x, lengths).float().numpy()
    write_test_data(folder, case.feeds, {"logits": logits})


def _describe(description: ModelDescription) -> str:
    config = description.config
    directions = "both directions" if config.bidirectional else "one direction"
    classes = description.class_names
    what = f"logits of {len(classes)} classes: {', '.join(classes)}" if classes else "values in the data's own unit"
    tokens = f"Tokens are places in: {' '.join(map(repr, description.vocabulary))}. " if description.vocabulary else ""
    return (
        f"A `{config.cell}` of {config.num_layers} layer(s) and {config.hidden_size} units, {directions}, trained with "
        f"`rnnexport train` on the task `{description.task}`. The graph takes raw values: the scaling is part of it. "
        f"{tokens}The output{', one for each step,' if config.per_step else ''} are {what}."
    )
