"""Tables of what a bundle holds."""

from __future__ import annotations

from rich.table import Table

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.evidence import EVIDENCE
from rnnexport.bundle.manifest import DecoderInfo
from rnnexport.bundle.plan import GraphKind, read_plan
from rnnexport.errors import BundleError
from rnnexport.report.numbers import size


def bundle_tables(bundle: Bundle) -> list[Table]:
    """Facts, inputs and outputs, and files."""
    return [_facts(bundle), _tensors(bundle), _files(bundle)]


def _facts(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    table = Table(title=str(bundle.path), title_justify="left", show_header=False)
    evaluation = bundle.evaluation
    facts = {
        "source": f"{manifest.source.kind}: {manifest.source.name}",
        "task": manifest.task or "-",
        "metric": manifest.metric or "-",
        "classes": ", ".join(manifest.class_names) or "-",
        "streaming": ", ".join(f"{before} → {after}" for before, after in manifest.state_pairs) or "-",
        **({"decoding": _decoding(manifest.decoder)} if manifest.decoder else {}),
        "evaluation set": f"{len(evaluation.labels)} series" if evaluation else "-",
        **{name: bundle.evidence(name) for name in EVIDENCE},
        "plan": _plan(bundle, "sequence"),
        **({"plan for streams": _plan(bundle, "step")} if manifest.step else {}),
        **{f"{tool} version": version for tool, version in manifest.versions.items()},
    }
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _decoding(decoder: DecoderInfo) -> str:
    """What a step is fed, and which states it carries."""
    states = ", ".join(f"{before} → {after}" for before, after in decoder.state_pairs)
    first = f" from {decoder.start_token}" if decoder.start_token is not None else ""
    last = f" to {decoder.stop_token}" if decoder.stop_token is not None else ""
    made_of = f"largest of {decoder.outputs[0].name}" if decoder.is_fed_tokens else decoder.outputs[0].name
    return "; ".join(filter(None, [f"{made_of} → {decoder.inputs[0].name}{first}{last}", states]))


def _plan(bundle: Bundle, kind: GraphKind) -> str:
    try:
        plan = read_plan(bundle, kind)
    except BundleError as exc:
        return str(exc)
    if plan is None:
        return "none"
    return f"{plan.tuned.form} in {plan.definition.engine}, {plan.definition.precision}, for {plan.tuned.purpose}"


def _tensors(bundle: Bundle) -> Table:
    table = Table("", "name", "type", "shape", "role")
    manifest = bundle.manifest
    sides = [("input", manifest.inputs), ("output", manifest.outputs)]
    if manifest.decoder is not None:
        sides += [("decoder input", manifest.decoder.inputs), ("decoder output", manifest.decoder.outputs)]
    for kind, tensors in sides:
        for info in tensors:
            table.add_row(kind, info.name, info.dtype, f"[{', '.join(map(str, info.shape))}]", info.role)
    return table


def _files(bundle: Bundle) -> Table:
    table = Table("file", "size", "SHA-256")
    for name, digest in bundle.manifest.files.items():
        table.add_row(name, size((bundle.path / name).stat().st_size), f"{digest[:16]}…")
    return table
