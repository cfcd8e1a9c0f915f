"""onnxruntime 1.32.0 is wrong without a word: LSTM · sequence_lens zero · initial_c given · outputs not Y.

Y_c differs by 0.87

Needs onnx, numpy and onnxruntime. The exit status is 1 if an output is not what the specification demands.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, numpy_helper

HERE = Path(__file__).parent
TOLERANCE = 1e-05


def read(folder, kind):
    protos = [TensorProto.FromString(path.read_bytes()) for path in sorted(folder.glob(kind + "_*.pb"))]
    return {proto.name: numpy_helper.to_array(proto) for proto in protos}


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(HERE / "model.onnx", options, providers=['CPUExecutionProvider'])


def run(feeds):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


differs = False
for folder in sorted(HERE.glob("test_data_set_*")):
    outputs = run(read(folder, "input"))
    for name, expected in read(folder, "output").items():
        actual = outputs[name]
        same = actual.shape == expected.shape and np.allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)
        print(f"{folder.name} {name}: {'as specified' if same else 'DIFFERS'}")
        if not same:
            print(f"  expected {expected.shape} {expected.tolist()}")
            print(f"  actual   {actual.shape} {actual.tolist()}")
            differs = True
sys.exit(differs)
