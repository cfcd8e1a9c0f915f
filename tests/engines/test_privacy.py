"""Both inference libraries report their use to their makers unless they are kept from it."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
import rnnexport.engines
from rnnexport.engines.contract import Definition
from pathlib import Path
definition = Definition(name="mine", engine=sys.argv[1], precision="float32")
engine = rnnexport.engines.get_engine(sys.argv[1])
assert engine.available(definition).usable
engine.load(Path(sys.argv[2]), definition)
assert "openvino_telemetry" not in sys.modules
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engine_leaves_no_trace_in_the_home_folder(engine, gru, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CODE, engine, gru[1]], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
