"""An engine that reads the source model is an engine like any other: nothing above the engines knows its name."""

from pathlib import Path

import numpy as np
import pytest

import rnnexport
from rnnexport.bundle.bundle import load_bundle
from rnnexport.errors import InputError
from rnnexport.parity.drift import drift
from tests.bundles import GRU, copy_of

PLUGIN = Path(__file__).parents[1] / "plugins" / "numpy_engine"


@pytest.fixture
def numpy_cpu(monkeypatch, tmp_path):
    """A runtime of an engine of another package, registered here and in the worker."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    path = tmp_path / "numpy-cpu.toml"
    path.write_text('engine = "numpy"\nprecision = "float32"\n', encoding="utf-8")
    return path


@pytest.fixture
def bundle(tmp_path):
    return load_bundle(copy_of(GRU, tmp_path / "gru"))


def test_it_is_proven_and_measured(numpy_cpu, bundle):
    report = rnnexport.verify(bundle.path, [numpy_cpu])
    assert report.passed
    assert report.runtimes[0].definition.engine == "numpy"
    (row,) = rnnexport.bench([bundle.path], [numpy_cpu], seconds=0.05, repetitions=1).measurements
    assert row.failure is None
    assert row.median_ns


def test_it_predicts(numpy_cpu, bundle):
    series = bundle.series[:3]
    expected = rnnexport.load(bundle.path, runtime="ort-cpu")(series)
    np.testing.assert_allclose(rnnexport.load(bundle.path, runtime=numpy_cpu)(series), expected, atol=1e-6)


def test_it_says_where_it_does_not_apply(numpy_cpu, bundle, streaming_gru):
    (drifted,) = drift(bundle.path, [numpy_cpu], steps=20).runtimes
    assert str(drifted.not_applicable).startswith("n/a: this engine runs the source model")
    message = "^runtime 'numpy-cpu' reads no step graph; choose one that runs ONNX files$"
    with pytest.raises(InputError, match=message):
        rnnexport.load(streaming_gru.path, runtime=numpy_cpu).stream()
