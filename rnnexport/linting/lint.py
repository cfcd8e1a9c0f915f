"""`rnnexport lint`: what the rules find, what each runtime says when it loads the file, and the repair, proved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexport.bundle.bundle import load_bundle
from rnnexport.errors import InputError
from rnnexport.files.destinations import check_new_file, is_same_file
from rnnexport.inspecting.layers import layer_nodes
from rnnexport.linting.keras_origin import keras_exporter
from rnnexport.linting.linted_model import LintedModel
from rnnexport.linting.loading import find_refusals
from rnnexport.linting.results import Finding, LintReport, Proof
from rnnexport.linting.rule import Rule
from rnnexport.linting.rules import all_rules
from rnnexport.onnx_files.operators import STACK_DOMAIN
from rnnexport.onnx_files.reading import external_files, read_model

if TYPE_CHECKING:
    import onnx_ir

_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft", STACK_DOMAIN)


def lint(
    path: str | Path,
    repaired: str | Path | None = None,
    samples: Sequence[Path] = (),
    *,
    on_progress: Callable[[str], None] = lambda _: None,
) -> LintReport:
    """Check an ONNX file, or the graph of a bundle, which keeps the result as `lint.json`; with `repaired`, write a
    repaired copy there.

    The copy is written only if it gives, in ONNX Runtime and OpenVINO, what the file itself gives in float64. Inputs
    are drawn, or taken from `samples`, each a npz with one array for each input.

    Raises:
        InputError: The file cannot be read, `repaired` is the file itself, or the repair cannot be proved.
        BundleError: The bundle is missing or damaged, or cannot be written to.
    """
    path = Path(path)
    bundle = load_bundle(path) if path.is_dir() else None
    path = bundle.model_path if bundle else path
    if repaired is not None and is_same_file(Path(repaired), path):
        raise InputError(f"{path} is never changed; give the repaired file another name")
    if repaired is not None:
        check_new_file(Path(repaired), "repaired")
    on_progress("rules")
    checked = LintedModel(_read(path))
    findings = _find(checked)
    on_progress("loading in each runtime")
    findings += find_refusals(path)
    report = LintReport(
        path=str(path),
        findings=findings,
        rules=len(all_rules()),
        layers=len(layer_nodes(checked.model)) + len(checked.decomposed_cells),
        unknown_operators=sorted(
            {f"{n.domain}::{n.op_type}" for n in checked.model.graph.all_nodes() if n.domain not in _KNOWN_DOMAINS}
        ),
        keras_exporter=keras_exporter(checked.model),
    )
    if bundle:
        bundle.write_evidence("lint.json", report.model_dump(mode="json"))
    if repaired is None:
        return report
    on_progress("repairing")
    found = {finding.rule for finding in findings if finding.repairable}
    rules = [rule for rule in all_rules() if rule.name in found]
    if rules:
        report.proof = _write_repaired(path, Path(repaired), rules, samples)
        report.repaired = str(repaired)
    return report


def find(path: Path) -> list[Finding]:
    """Return what the rules say about a file; nothing is run.

    Raises:
        InputError: The file cannot be read.
    """
    return _find(LintedModel(_read(path)))


def _read(path: Path) -> onnx_ir.Model:
    from rnnexport.passes.output_shapes import infer_shapes

    model = read_model(path)
    infer_shapes(model)
    return model


def _find(checked: LintedModel) -> list[Finding]:
    return [
        Finding(
            rule=rule.name,
            severity=rule.severity,
            title=rule.title,
            where=where,
            what=what,
            consequences=rule.consequences,
            repairable=rule.repairs(checked, where),
        )
        for rule in all_rules()
        for where, what in rule.check(checked)
    ]


def _write_repaired(path: Path, target: Path, rules: list[Rule], samples: Sequence[Path]) -> list[Proof]:
    import onnx_ir

    from rnnexport.linting.proof import prove  # computes in float64, which takes long to import
    from rnnexport.passes.recognising.recurrent import remove_unused

    model = read_model(path)
    read_before = [value for graph in model.graphs() for value in graph.initializers.values() if value.uses()]
    for rule in rules:
        repair = rule.repair()
        assert repair is not None
        repair(model)
    remove_unused(read_before)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copy = Path(folder) / target.name
        external = f"{target.name}.data" if external_files(path) else None
        onnx_ir.save(model, copy, external_data=external)
        proof = prove(path, copy, samples, same_results=not any(rule.changes_results for rule in rules))
        if failed := [row for row in proof if not row.passed]:
            raise InputError(f"the repair of {path} is not proved, so it is not written: {failed[0]}")
        for name in filter(None, [external]):
            (Path(folder) / name).replace(target.parent / name)
        copy.replace(target)
    return proof
