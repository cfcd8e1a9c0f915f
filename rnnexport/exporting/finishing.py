"""The last files of every bundle: its card, its bill of materials, and the manifest over all of them."""

from __future__ import annotations

from pathlib import Path

from rnnexport.bundle.card import model_card
from rnnexport.bundle.manifest import Manifest
from rnnexport.bundle.store import seal
from rnnexport.exporting.sbom import write_sbom


def finish(folder: Path, manifest: Manifest, description: str, *, sbom: bool) -> None:
    """Write them; `description` says in a sentence what the model is."""
    (folder / "README.md").write_text(model_card(manifest, description), encoding="utf-8")
    if sbom:
        write_sbom(folder, manifest)
    seal(folder, manifest)
