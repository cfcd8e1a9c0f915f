"""Trained models of other people, in the `.h5` files of Keras 2.1, 2.2, 2.5 and 2.6 that their wheels carry.

`real_answers.npz` holds what Keras 2.15 on TensorFlow answered to one call of each.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import rnnexport
from rnnexport.keras_files.archive import read_keras_file
from rnnexport.keras_files.reference import evaluate
from rnnexport.keras_files.typed_model import read_model

pytestmark = pytest.mark.slow
with np.load(Path(__file__).with_name("real_answers.npz")) as _archive:
    ANSWERS = {name: _archive[name] for name in _archive.files}
FILES = [name.partition(":")[0] for name in ANSWERS if name.endswith(":input")]


@pytest.fixture(scope="module")
def wheels() -> Path:
    """The folder that the session `keras` installs the wheels into."""
    folder = os.environ.get("RNNEXPORT_KERAS_2_MODELS")
    if folder is None:
        pytest.skip("needs the wheels with the models; run: nox -s keras")
    return Path(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_gives_what_keras_2_answered_and_every_runtime_agrees(name, wheels, tmp_path):
    model = read_model(read_keras_file(wheels / name))
    answers = evaluate(model, {model.inputs[0].name: ANSWERS[f"{name}:input"]})
    for number, answer in enumerate(answers.values()):
        right = ANSWERS[f"{name}:{number}"]
        np.testing.assert_allclose(answer[:, : right.shape[1]], right, atol=2e-5)  # float32's own, at the largest
    bundle = rnnexport.export(wheels / name, tmp_path / "bundle")
    assert rnnexport.verify(bundle.path, grid="quick").passed
