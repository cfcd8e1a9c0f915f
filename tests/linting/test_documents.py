"""docs/how-to/onnx-files.md says of real files what lint says."""

import os
from pathlib import Path

import pytest

from rnnexport.linting.lint import lint
from rnnexport.linting.loading import LOADS

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/how-to/onnx-files.md").read_text(encoding="utf-8")

REAL_FILES = {
    "silero_vad/data/silero_vad.onnx": {LOADS},
    "silero_vad/data/silero_vad_16k_op15.onnx": {LOADS},
    "silero_vad/data/silero_vad_half.onnx": {LOADS},
    "silero_vad/data/silero_vad_16k_sequence.onnx": {"fixed-batch"},
    "silero_vad/data/silero_vad_op18_ifless.onnx": {"decomposed"},
    "silero_vad/data/silero_vad_openvino_16k.onnx": {"fixed-batch"},
    "faster_whisper/assets/silero_vad_v6.onnx": {"fixed-batch"},
    "arabic_name_romanizer/resources/encoder.onnx": set(),
    "arabic_name_romanizer/resources/decoder.onnx": {"vague-output-shape", "decomposed"},
    "arabic_name_romanizer/resources/persian/encoder.onnx": set(),
    "arabic_name_romanizer/resources/persian/decoder.onnx": {"vague-output-shape", "decomposed"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files(name):
    folder = os.environ.get("RNNEXPORT_REAL_MODELS")
    if folder is None:
        pytest.skip("needs the wheels with the models; run: nox -s real_models")
    assert {finding.rule for finding in lint(Path(folder, name)).findings} == REAL_FILES[name]
    assert f"`{Path(name).name}`" in DOCUMENT
