"""What commands add to a bundle: a copy of it for a test does without, and a new export makes it stale."""

from __future__ import annotations

import shutil

from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.manifest import MANIFEST

EVIDENCE = shutil.ignore_patterns("parity.json", "parity_outputs.npz", "bench*", "drift*", "lint*", "tune*", "plan*")


def export_again(bundle: Bundle) -> Bundle:
    """Return the bundle as another export of the same model would leave it, the evidence of the first beside it."""
    manifest = bundle.manifest.model_copy(update={"name": "exported again"})
    (bundle.path / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    return load_bundle(bundle.path)
