"""`manifest.json` as it lies in a bundle: read, checked for contradictions, and brought to the schema of today."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rnnexport.bundle.axes import find_input_axes, find_output_axes, with_axes
from rnnexport.bundle.manifest import MANIFEST, SCHEMA_VERSION, DecoderInfo, Manifest, StepGraphInfo, TensorInfo
from rnnexport.errors import BundleError
from rnnexport.files.json_files import parse_json


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
    if version not in (1, SCHEMA_VERSION):
        raise BundleError(
            f"{path / MANIFEST} is schema {version}, this version reads {SCHEMA_VERSION}; "
            "export again or upgrade rnnexport"
        )
    try:
        manifest = _from_schema_1(document) if version == 1 else Manifest.model_validate(document)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / MANIFEST} is damaged at {where!r}: {first['msg']}; export again") from exc
    for problem in _contradictions(manifest):
        raise BundleError(f"{path / MANIFEST} contradicts itself: {problem}; export again")
    return manifest


def _from_schema_1(document: dict[str, Any]) -> Manifest:
    """Find the axes that schema 2 says of each tensor; schema 1 said them once, of the step graph.

    Raises:
        ValidationError: It is damaged.
    """
    step = document.get("step")
    batch, time = "", ""
    if isinstance(step, dict):
        batch, time = str(step.get("batch_dimension", "")), str(step.get("time_dimension", ""))
        step = _renamed({key: value for key, value in step.items() if not key.endswith("_dimension")})
    manifest = Manifest.model_validate(_renamed({**document, "schema_version": SCHEMA_VERSION, "step": step}))
    inputs = find_input_axes(manifest.inputs, {batch} - {""}, {time} - {""})
    update: dict[str, Any] = {"inputs": inputs, "outputs": find_output_axes(manifest.outputs, inputs)}
    if manifest.step is not None:
        sides = (with_axes(side, {batch}, {time}) for side in (manifest.step.inputs, manifest.step.outputs))
        update["step"] = StepGraphInfo(inputs=next(sides), outputs=next(sides))
    return manifest.model_copy(update=update)


def _renamed(graph: dict[str, Any]) -> dict[str, Any]:
    """What lengths count was called their `time_axis`."""

    def renamed(info: Any) -> Any:
        if not isinstance(info, dict) or "time_axis" not in info:
            return info
        return {**info, "time_axis": None, "counted_dimension": info["time_axis"]}

    return {
        key: list(map(renamed, value)) if key in ("inputs", "outputs") and isinstance(value, list) else value
        for key, value in graph.items()
    }


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield what no export writes."""
    for kind, infos in (("input", manifest.inputs), ("output", manifest.outputs)):
        yield from _doubles(kind, infos)
    needed = ["model.onnx", *(["step.onnx"] if manifest.step else [])]
    needed += ["decoder.onnx", "decoder_cases.npz", "decoding_cases.npz"] if manifest.decoder else []
    needed += {"builtin": ["model.json", "weights.safetensors"]}.get(manifest.source.kind, ["parity_cases.npz"])
    for name in needed:
        if name not in manifest.files:
            yield f"{name!r} is not among its files"
    if manifest.class_names and all(_sizes_of_last(info) - {1, len(manifest.class_names)} for info in manifest.outputs):
        yield f"it names {len(manifest.class_names)} classes, and no output has as many columns"
    if manifest.decoder is not None:
        yield from _contradictions_of_decoder(manifest, manifest.decoder)
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
    if not step.time_dimension:
        yield "no input of the step graph has an axis of time"


def _contradictions_of_decoder(manifest: Manifest, decoder: DecoderInfo) -> Iterator[str]:
    yield from _doubles("decoder input", decoder.inputs)
    yield from _doubles("decoder output", decoder.outputs)
    fed, *others = decoder.inputs
    known = {info.name for info in (*manifest.inputs, *manifest.outputs)}
    yield from (
        f"the encoder gives no {info.name!r}, which its decoder takes" for info in others if info.name not in known
    )
    ends = {info.name for info in others}, {info.name for info in decoder.outputs[1:]}
    for pair in decoder.state_pairs:
        if pair[0] not in ends[0] or pair[1] not in ends[1]:
            yield f"the decoder has no states {pair[0]!r} → {pair[1]!r}"
    if decoder.is_fed_tokens and decoder.start_token is None:
        yield f"it does not say which {fed.name!r} is the first"
    sized = {size for info in others for size in info.shape}
    if unknown := [size for size in fed.shape if isinstance(size, str) and size not in sized]:
        yield f"nothing tells the size {unknown[0]!r} of {fed.name!r}"


def _doubles(kind: str, infos: Sequence[TensorInfo]) -> Iterator[str]:
    names = [info.name for info in infos]
    yield from (f"{kind} {name!r} is there twice" for name in names if names.count(name) > 1)


def _sizes_of_last(info: TensorInfo) -> set[int]:
    """The number of columns, where it is known."""
    return {size for size in info.shape[-1:] if isinstance(size, int)}
