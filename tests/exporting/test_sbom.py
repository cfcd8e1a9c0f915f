"""The bill of materials of a bundle."""

import hashlib
import json
from importlib.metadata import version

import pytest
from torch import nn

import rnnexport
from rnnexport.bundle.manifest import Manifest

pytest.importorskip("cyclonedx", reason="needs cyclonedx-python-lib")


def test_the_bill_names_the_model_by_its_hash_and_every_package_and_is_the_same_each_time(tmp_path):
    rnn = nn.GRU(3, 4, batch_first=True)
    bundles = [
        rnnexport.export(rnn, tmp_path / name / "tagger", inputs=["x:float32[batch,time,3]"], sbom=True)
        for name in "ab"
    ]
    first, second = ((bundle.path / "sbom.cdx.json").read_bytes() for bundle in bundles)
    assert first == second
    bill = json.loads(first)
    model = bill["metadata"]["component"]
    assert (bill["bomFormat"], model["type"], model["name"]) == ("CycloneDX", "machine-learning-model", "tagger")
    digest = hashlib.sha256((bundles[0].path / "model.onnx").read_bytes()).hexdigest()
    assert model["components"][0]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert {"onnx": version("onnx"), "numpy": version("numpy")}.items() <= {
        part["name"]: part["version"] for part in bill["components"]
    }.items()
    manifest = Manifest.model_validate_json((bundles[0].path / "manifest.json").read_text())
    assert manifest.files["sbom.cdx.json"] == hashlib.sha256(first).hexdigest()
