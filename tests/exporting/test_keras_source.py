"""A Keras file becomes a bundle like any other: verified, measured, streamed and loaded without Keras."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import rnnexport
from rnnexport.parity.oracle import kept_cases
from tests.bundles import altered


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    with tarfile.open(Path(__file__).parents[1] / "keras_files/models.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def operators(bundle):
    return [node.op_type for node in onnx.load(bundle.model_path).graph.node]


@pytest.mark.slow
def test_a_fixed_number_of_steps_is_left_open_and_a_stream_gives_what_the_series_gives(files, tmp_path):
    bundle = rnnexport.export(files / "keras2/article.h5", tmp_path / "bundle", streaming=True)
    assert bundle.manifest.inputs[0].shape == ("batch", "time", 3)
    assert operators(bundle).count("LSTM") == 1
    report = rnnexport.verify(bundle.path, ["ort-cpu", "openvino-cpu"])
    assert report.passed
    assert any("chunks" in case.case for case in report.runtimes[0].cases)
    rows = rnnexport.bench([bundle.path], ["ort-cpu"], batch_sizes=[3], time_steps=[11], seconds=0.05).measurements
    assert [row.failure for row in rows] == [None]
    assert rnnexport.load(bundle.path)([np.zeros((9, 3), np.float32)]).shape == (1, 1)


def test_masked_steps_in_all_places_are_right_in_every_runtime(files, tmp_path):
    bundle = rnnexport.export(files / "keras3/both_directions.keras", tmp_path / "bundle")
    assert bundle.manifest.inputs[0].role == "indices"
    assert {"LSTM", "GRU"} <= set(operators(bundle))
    assert "Scan" not in operators(bundle)
    cases, _ = kept_cases(bundle)
    masked = np.concatenate([(case.feeds["tokens"] == 0).ravel() for case in cases])
    assert 0.2 < masked.mean() < 0.8
    report = rnnexport.verify(bundle.path)
    assert report.passed
    judged = {runtime.definition.name: runtime for runtime in report.runtimes}
    assert judged["ort-cpu"].cases
    assert judged["openvino-cpu"].cases
    assert "made from a Keras file" in judged["torch-cpu"].not_applicable


def test_a_fault_in_the_graph_is_found_and_named(files, tmp_path):
    def exchange_gates(model):
        (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
        (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
        i, o, f, c = np.split(numpy_helper.to_array(weight), 4, axis=1)
        weight.CopyFrom(numpy_helper.from_array(np.concatenate([i, f, c, o], axis=1), weight.name))

    bundle = rnnexport.export(files / "keras3/article.keras", tmp_path / "bundle")
    (runtime,) = rnnexport.verify(altered(bundle.path, tmp_path / "wrong", exchange_gates), ["ort-cpu"]).runtimes
    assert not runtime.passed
    assert [cause.name for cause in runtime.diagnosis.causes] == ["gate order"]


def test_the_command_writes_the_bundle_and_neither_keras_nor_tensorflow_is_imported(files, tmp_path):
    code = (
        "import sys; from rnnexport.cli import main\n"
        f"sys.argv = ['rnnexport', 'export', {str(files / 'keras3/article.keras')!r}, '--out', 'bundle', '--json']\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'keras', 'tensorflow'} & {name.split('.')[0] for name in sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    (manifest,) = json.loads(done.stdout)
    assert manifest["source"] == {"kind": "keras", "name": "article.keras"}
    assert (tmp_path / "bundle/model.onnx").is_file()
