"""docs/lint.md says what the rules say of themselves, and of real files what lint says."""

import os
import re
from pathlib import Path

import pytest

from rnnexport.linting.lint import LOADS, lint
from rnnexport.linting.rules import all_rules

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "lint.md").read_text(encoding="utf-8")

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


def test_the_table_of_rules_is_the_rules():
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.*?) \| (.*?) \| (yes)? ?\|$", DOCUMENT, re.MULTILINE)
    documented = {name: (severity, title, consequence, bool(fix)) for name, severity, title, consequence, fix in rows}
    documented.pop(LOADS)
    assert documented == {
        rule.name: (
            rule.severity,
            rule.title,
            " · ".join(f"{runtime}: {text}" for runtime, text in rule.consequences.items()),
            rule.repair() is not None,
        )
        for rule in all_rules()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files(name):
    folder = os.environ.get("RNNEXPORT_REAL_MODELS")
    if folder is None:
        pytest.skip("needs the wheels with the models; run: nox -s real_models")
    assert {finding.rule for finding in lint(Path(folder, name)).findings} == REAL_FILES[name]
    assert f"`{Path(name).name}`" in DOCUMENT
